"""Fine-tuning cases (`ft`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from serac_jax.core.batch import EditBatch, Examples, stack
from serac_jax.editors import interventions
from serac_jax.editors.finetune.finetune_editor import Options, Residual, added, draw, fit
from serac_jax.models import Model, convert
from tests.parity import golden, training
from tests.parity.compare import Comparison
from tests.parity.outcome import Outcome, check, compare_outcome, load_base
from tests.parity.recorded import Reader, compare_leaves


class Parts(NamedTuple):
    """A case's model and its editor's parts; the number of steps is an argument, so that states
    within an edit cost no further compilation."""

    base: Model
    base_params: Any
    paths: dict[str, str]  # of the inner kernels, by the original's names
    options: Options
    steps: int
    fit: Any  # (weights, residual, edits, steps) -> weights
    logits: Any
    reader: Reader


def build(
    manifest: dict[str, Any], root: Path, outside: Examples | None, comparison: Comparison
) -> Parts:
    """The editor of a manifest's configuration, in the original's names."""
    config, ft = manifest["config"], manifest["config"]["ft"]
    base, base_params, reader = load_base(manifest, root, comparison)
    leaves = convert.flatten(base_params)
    paths = {
        name: convert.path_of(convert.canonical(name), base.network.rules, leaves)
        for name in config["model"]["inner_params"]
    }
    options = Options(
        optimizer=ft["opt"].lower(),
        lr=config["edit_lr"],
        steps=ft["max_edit_steps"],
        clip=config["grad_clip"],
        rank=ft["rank"],
        init_std=ft["init_std"],
        cedit=ft["locality"]["cedit"],
    )
    steps = options.steps
    if ft["time_limit"] is not None:
        comparison.depart(
            "a time limit is a limit of steps; one that has passed already is 0 steps"
        )
        steps = 0 if ft["time_limit"] < 0 else steps

    def edited(weights: Any, residual: Residual, edits: Examples, steps: Any) -> Any:
        return added(weights, fit(base, weights, residual, edits, options, steps, outside))

    return Parts(
        base, base_params, paths, options, steps, jax.jit(edited), jax.jit(base.logits), reader
    )


def untouched(parts: Parts, weights: Any) -> Residual:
    return draw(
        interventions.select(weights, tuple(map(re.escape, parts.paths.values()))), parts.options
    )


def compare_batch(
    comparison: Comparison, case: golden.Case, prefix: str, parts: Parts, batch: EditBatch
) -> None:
    """Logits at every step of the edit, the edited weights, and what they do to the batch's
    queries."""
    weights, residual = parts.base_params, untouched(parts, parts.base_params)
    for name in [name for name in case if re.fullmatch(rf"{prefix}/inner0_loss\d+/pred", name)]:
        steps = int(re.findall(r"\d+", name.removeprefix(prefix))[1])
        logits = parts.logits(parts.fit(weights, residual, batch.edits, steps + 1), batch.edits)
        check(comparison, case, name, logits, batch.edits.weight)
    edited = parts.fit(weights, residual, batch.edits, parts.steps)
    compare_leaves(comparison, case, f"{prefix}/edit0/before", weights, parts.paths.__getitem__)
    compare_leaves(comparison, case, f"{prefix}/edit0/after", edited, parts.paths.__getitem__)
    answers = [
        parts.logits(chosen, queries)
        for chosen in (weights, edited)
        for queries in (batch.inside, batch.outside)
    ]
    compare_outcome(comparison, case, prefix, Outcome(*answers), batch, bool(parts.base.labels))


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """The evaluation batch, and the training batch whose edit the original recorded before its
    training step failed."""
    manifest = case.manifest
    absent = [name for name in nearby(manifest) if not (cases / name).is_dir()]
    parts = build(
        manifest, root, None if absent else locality(manifest, cases, root, comparison), comparison
    )
    limit = manifest["config"]["data"]["n_outer_max"]
    evaluated, trained = training.batches_of(manifest)
    named = [
        *(("eval", name) for name in evaluated),
        *((f"train{number}", name) for number, name in enumerate(trained)),
    ]
    for prefix, name in named:
        if not any(key.startswith(f"{prefix}/") for key in case):
            continue
        batch = parts.reader.batch(golden.batch(cases, name), limit)
        if absent:
            comparison.depart(
                f"{', '.join(absent)}, which the edit reads, are not among the cases: only what"
                " precedes its first step is compared"
            )
            check(
                comparison,
                case,
                f"{prefix}/inner0_loss0/pred",
                parts.logits(parts.base_params, batch.edits),
                batch.edits.weight,
            )
            compare_leaves(
                comparison,
                case,
                f"{prefix}/edit0/before",
                parts.base_params,
                parts.paths.__getitem__,
            )
        else:
            compare_batch(comparison, case, prefix, parts, batch)


def nearby(manifest: dict[str, Any]) -> list[str]:
    """The batches whose out-of-scope queries a case's locality loss reads, as its note names
    them."""
    return (
        re.findall(r"batch_\w+", manifest["note"])
        if manifest["config"]["ft"]["locality"]["enabled"]
        else []
    )


def locality(
    manifest: dict[str, Any], cases: Path, root: Path, comparison: Comparison
) -> Examples | None:
    """The out-of-scope queries of a locality loss; the k-th evaluation of the loss reads the k-th
    batch, in turn."""
    names = nearby(manifest)
    if not names:
        return None
    reader = load_base(manifest, root, comparison)[2]
    return jax.tree.map(
        jnp.asarray,
        stack([reader.batch(golden.batch(cases, name), None).outside for name in names]),
    )


def run_extra(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Low rank, from recorded factors."""
    parts = build(case.manifest, root, None, comparison)
    edits = parts.reader.batch(golden.batch(cases, case.manifest["batch"]), None).edits
    residual = untouched(parts, parts.base_params)
    residual |= {
        path: (residual[path][0], jnp.asarray(case[f"u_init/{name}"].T))
        for name, path in parts.paths.items()
    }
    compare_leaves(
        comparison,
        case,
        "after",
        parts.fit(parts.base_params, residual, edits, parts.steps),
        parts.paths.__getitem__,
    )


def run_sequence(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Edits one after the other; after each, weights, and queries in and out of scope."""
    manifest = case.manifest
    parts = build(manifest, root, None, comparison)
    queries = parts.reader.batch(golden.batch(cases, manifest["eval_batch"]), None)
    weights = parts.base_params
    for number, name in enumerate(manifest["edits"]):
        edits = parts.reader.batch(golden.batch(cases, name), None).edits
        weights = parts.fit(weights, untouched(parts, weights), edits, parts.steps)
        compare_leaves(comparison, case, f"after{number}", weights, parts.paths.__getitem__)
        for side, examples in (("edit_outer", queries.inside), ("loc", queries.outside)):
            check(
                comparison,
                case,
                f"after{number}/{side}/logits",
                parts.logits(weights, examples),
                examples.weight,
            )
