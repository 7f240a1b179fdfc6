"""MEND cases (`gtn`)."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from serac_jax.core.batch import EditBatch
from serac_jax.core.errors import UserError
from serac_jax.core.losses import nll
from serac_jax.editors import interventions
from serac_jax.editors.mend import mend_editor as mend
from serac_jax.editors.protocol import Editor
from serac_jax.models import Model, convert
from tests.parity import golden, training
from tests.parity.compare import Comparison
from tests.parity.mend_names import group, locate, moment, moments_of
from tests.parity.outcome import Outcome, check, compare_outcome, load_base
from tests.parity.precision import real
from tests.parity.recorded import Reader, compare_leaves, widen, with_recorded


class Parts(NamedTuple):
    """A case's model and options."""

    base: Model
    base_params: Any
    kernels: dict[
        str, str
    ]  # paths of the edited kernels by the original's names, in the order of its rates
    editor: Editor
    options: mend.Options
    params: Any
    reader: Reader

    def locate(self, name: str) -> str:
        """The parameter path of one of the original's names."""
        return locate(name, self.kernels)


def configured(case: golden.Case, cases: Path) -> dict[str, Any]:
    """A manifest's configuration; where it holds only what was changed, that of the editor's plain
    case with these changes."""
    manifest = case.manifest
    if "config" in manifest:
        return manifest["config"]
    config = golden.load(cases, f"{manifest['task']}_{manifest['alg']}").manifest["config"]
    for override in manifest["overrides"]:
        (*path, field), value = override.split("=")[0].split("."), override.split("=")[1]
        node = config
        for part in path:
            node = node[part]
        node[field] = value if isinstance(node[field], str) else json.loads(value)
    return config


def build(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> Parts:
    """The editor of a manifest's configuration, in the original's names, with the recorded start
    values."""
    config = configured(case, cases)
    base, base_params, reader = load_base({"config": config}, root, comparison)
    leaves = convert.flatten(base_params)
    kernels = {
        name: str(convert.path_of(convert.canonical(name), base.network.rules, leaves))
        for name in config["model"]["inner_params"]
    }
    given = {
        field: value for field, value in config["gtn"].items() if field in mend.Options._fields
    }
    options = mend.Options(
        **given, **{field: config[field] for field in ("edit_lr", "cedit", "cloc", "unlikelihood")}
    )
    editor = mend.mend(base, tuple(map(re.escape, kernels.values())), options)
    started = (
        case
        if "init/edit_lrs" in case
        else golden.load(cases, f"{case.manifest['task']}_{case.manifest['alg']}")
    )
    parts = Parts(
        base,
        base_params,
        kernels,
        editor,
        options,
        jax.tree.map(real, editor.init(jax.random.key(0), base_params)),
        reader,
    )
    return parts._replace(params=with_recorded(started, "init", parts.params, parts.locate)[0])


class Passes(NamedTuple):
    """Compiled functions; every batch of a case is padded to the same widths, so each compiles
    once."""

    logits: Any
    factors: Any
    update: Any  # (params, edited, edits, renew) -> edited, moments
    gradient: Any

    @classmethod
    def of(cls, parts: Parts) -> Passes:
        patterns = tuple(map(re.escape, parts.kernels.values()))

        def factors(weights: Any, edits: Any) -> Any:
            return interventions.factors(
                parts.base,
                weights,
                parts.kernels.values(),
                edits,
                lambda logits: nll(logits, edits.labels, edits.weight),
            )

        return cls(
            jax.jit(parts.base.logits),
            jax.jit(factors),
            jax.jit(partial(mend.update, parts.base, patterns, parts.options), static_argnums=3),
            jax.jit(jax.value_and_grad(parts.editor.loss, has_aux=True)),
        )


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """A whole case: every training step, and the evaluation batch with the moments of one training
    edit."""
    if refused(comparison, case, cases, root):
        return
    manifest = case.manifest
    config = manifest["config"] = configured(case, cases)
    parts = build(comparison, case, cases, root)
    passes, reader = Passes.of(parts), parts.reader
    evaluated, trained = training.batches_of(manifest)
    names = [first_batch(manifest, cases), *evaluated, *trained]
    first, *batches = widen(
        [reader.batch(golden.batch(cases, name), config["data"]["n_outer_max"]) for name in names]
    )
    if evaluated:
        compare_batch(
            comparison,
            case,
            "eval",
            parts,
            passes,
            moments_before(comparison, case, parts, passes, first),
            batches.pop(0),
            renew=False,
        )
    training.run(comparison, case, learner_of(comparison, case, parts, passes), batches)


def learner_of(
    comparison: Comparison, case: golden.Case, parts: Parts, passes: Passes
) -> training.Learner:
    def gradient(params: Any, batch: EditBatch) -> tuple[Any, dict[str, Any]]:
        (_, aux), found = passes.gradient(params, parts.base_params, batch, jax.random.key(0))
        return found, aux.overwrite

    def settle(prefix: str, params: Any) -> Any:
        return compare_moments(comparison, case, f"norm_after_{prefix}", params, parts)

    def compare(prefix: str, params: Any, batch: EditBatch) -> None:
        compare_batch(comparison, case, prefix, parts, passes, params, batch, renew=True)

    return training.Learner(parts.editor, parts.params, gradient, parts.locate, compare, settle)


def moments_before(
    comparison: Comparison, case: golden.Case, parts: Parts, passes: Passes, first: EditBatch
) -> Any:
    """The parameters with the moments that an evaluation reads."""
    _, seen = passes.update(parts.params, parts.base_params, first.edits, True)
    return compare_moments(
        comparison,
        case,
        "norm_before_eval",
        parts.params | ({"moments": seen} if seen else {}),
        parts,
    )


def first_batch(manifest: dict[str, Any], cases: Path) -> str:
    """The batch whose edit gave the moments that an evaluation reads: the first that is trained on,
    there or in the editor's plain case."""
    trained = (
        training.batches_of(manifest)[1]
        or training.batches_of(
            golden.load(cases, f"{manifest['task']}_{manifest['alg']}").manifest
        )[1]
    )
    return trained[0]


def refused(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> bool:
    """Whether the original refuses to build the editor; then so do we."""
    if "build" not in case.manifest["errors"]:
        return False
    comparison.depart(
        "the original cannot build the editor:"
        f" {case.manifest['errors']['build'].splitlines()[0][:90]}; here it is an error that"
        " says why"
    )
    try:
        build(comparison, case, cases, root)
        comparison.check("errors/build", np.array(False), np.array(True))
    except UserError:
        comparison.check("errors/build", np.array(True), np.array(True))
    return True


def compare_batch(
    comparison: Comparison,
    case: golden.Case,
    prefix: str,
    parts: Parts,
    passes: Passes,
    params: Any,
    batch: EditBatch,
    renew: bool,
) -> None:
    """The edit of a batch, the queries' logits before and after, and the scalars that follow from
    them."""

    base = parts.base_params
    edited, _ = passes.update(params, base, batch.edits, renew)
    compare_leaves(comparison, case, f"{prefix}/edit0/before", base, parts.kernels.__getitem__)
    compare_leaves(comparison, case, f"{prefix}/edit0/after", edited, parts.kernels.__getitem__)
    check(
        comparison,
        case,
        f"{prefix}/inner0_loss0/pred",
        passes.logits(base, batch.edits),
        batch.edits.weight,
    )
    found = Outcome(
        *(
            passes.logits(weights, side)
            for weights in (base, edited)
            for side in (batch.inside, batch.outside)
        )
    )
    compare_outcome(comparison, case, prefix, found, batch, bool(parts.base.labels))
    info = case.manifest["values"].get(f"{prefix}/info", {})
    noise = comparison.noise_of(f"{prefix}/edit0", "max_rel_to_array_max")
    for number, path in enumerate(parts.kernels.values()):
        found, lost = gradient_scalars(
            parts,
            passes.factors(base, batch.edits)[path],
            params["rates"][number],
            base,
            edited,
            path,
        )
        for name in [name for name in found if f"grad/{name}{number}" in info]:
            key, recorded = f"grad/{name}{number}", info[f"grad/{name}{number}"]
            size = 1.0 if name == "cos" else abs(recorded)
            comparison.check(
                f"{prefix}/info/{key}",
                np.float32(found[name]),
                np.float32(recorded),
                rounding=(10 * noise + lost) * size,
            )


def gradient_scalars(
    parts: Parts, factor: interventions.Factor, rate: Any, base: Any, edited: Any, path: str
) -> tuple[dict[str, float], float]:
    """What the original logs of a kernel's gradient and of the update that takes its place, and the
    relative rounding of the latter.

    The update is read off the edited kernel, which keeps of it what float32 can add to the old one.
    """
    before, after = (
        np.asarray(convert.flatten(weights)[path], np.float64) for weights in (base, edited)
    )
    true = np.asarray(factor.input, np.float64).T @ np.asarray(factor.delta, np.float64)
    pseudo = (after - before) / np.float64(rate) * (-1 if parts.options.descent else 1)
    sizes = np.linalg.norm(true), np.linalg.norm(pseudo)
    found = {
        "true_mag": sizes[0],
        "pseudo_mag": sizes[1],
        "true_std": true.std(ddof=1),
        "pseudo_std": pseudo.std(ddof=1),
    }
    found |= {
        "diff": np.linalg.norm(true - pseudo),
        "cos": (true * pseudo).sum() / (sizes[0] * sizes[1]),
    }
    return found, float(
        np.finfo(np.float32).eps / 2 * np.linalg.norm(after) / np.linalg.norm(after - before)
    )


def compare_moments(
    comparison: Comparison, case: golden.Case, prefix: str, params: Any, parts: Parts
) -> Any:
    """The running moments of every set of networks: (32, 64).u_mean and so on. Returns the
    parameters with the recorded ones in their place.

    Of a coordinate that is constant the deviation is rounding noise, by which it is divided should
    it ever change."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in [name for name in case if name.startswith(f"{prefix}/")]:
        networks, part = name.removeprefix(f"{prefix}/").rsplit(".", 1)
        found.setdefault(networks, {})[part] = case[name]
    if found and not parts.options.norm:
        comparison.depart("moments that nothing reads are not kept")
        return params
    settled = dict(params.get("moments", {}))
    for networks, kept in found.items():
        name = group(networks, parts.kernels)
        for part, array in kept.items():
            comparison.check(
                f"{prefix}/{networks}.{part}",
                moment(settled[name], part, kept["u_mean"].size),
                array,
            )
        settled[name] = moments_of(kept)
    return params | ({"moments": jax.tree.map(real, settled)} if settled else {})


def run_sequence(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Edits one after the other; after each, the edited kernels and queries in and out of scope."""
    manifest = case.manifest
    parts = build(comparison, case, cases, root)
    if any(name.startswith("edit") for name in manifest["errors"]):
        comparison.depart(
            "the original cannot edit an edited model unless it detaches the first edit"
        )
    passes, reader = Passes.of(parts), parts.reader
    names = (first_batch(manifest, cases), *manifest["edits"], manifest["eval_batch"])
    first, *batches, queries = widen(
        [reader.batch(golden.batch(cases, name), None) for name in names]
    )
    params = moments_before(comparison, case, parts, passes, first)
    edited = parts.editor.start(params, parts.base_params, first.edits)
    for number, batch in enumerate(batches):
        edited, _ = passes.update(params, edited, batch.edits, False)
        compare_leaves(comparison, case, f"after{number}", edited, parts.kernels.__getitem__)
        for name, side in (("edit_outer", queries.inside), ("loc", queries.outside)):
            check(
                comparison,
                case,
                f"after{number}/{name}/logits",
                passes.logits(edited, side),
                side.weight,
            )
