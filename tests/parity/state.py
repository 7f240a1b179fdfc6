"""What the original saves of every editor: the names that the import of archives must know, and
MEND's moments after a reload."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.cli import import_archive
from serac_jax.editors.mend.mend_networks import Moments
from serac_jax.models import Model, convert
from tests.parity import enn, golden, mend, serac
from tests.parity.compare import Comparison
from tests.parity.mend_names import group, locate, moment
from tests.parity.recorded import turned


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Our parameters under exactly the recorded names are an archive that the import turns into our
    parameters again.

    The case names no configuration: its editors are those of the plain cases of question answering.
    """
    saved = case.manifest["values"]
    for kind in ("rep", "rep_cross"):
        run_serac(
            comparison, f"{kind}_state_dict_keys", saved, golden.load(cases, f"qa_{kind}"), root
        )
    run_enn(comparison, saved, golden.load(cases, "qa_enn"), root)
    run_mend(comparison, saved, golden.load(cases, "qa_gtn"), cases, root)
    if isinstance(saved["rep_freeze_cntr_state_dict"], str):
        comparison.depart(
            "the original cannot save SERAC with a frozen counterfactual; here the scope classifier"
            " is saved alone"
        )


def run_serac(
    comparison: Comparison, name: str, saved: dict[str, Any], plain: golden.Case, root: Path
) -> None:
    parts = serac.build(plain.manifest, root, comparison)
    networks = {
        "classifier.": ("scope", parts.classifier),
        "replacement.": ("counterfactual", parts.counterfactual),
    }
    tensors = {
        key: named(key, networks, parts.params)
        for key in saved[name]
        if key not in ("model_config", "scale")
    }
    experiment = SimpleNamespace(parts=dict(networks.values()))
    compare_import(comparison, name, "serac", tensors, experiment, (), parts.params)


def run_enn(comparison: Comparison, saved: dict[str, Any], plain: golden.Case, root: Path) -> None:
    """ENN; fine-tuning and the lookup cache, which train nothing, save the base model alone."""
    parts = enn.build(comparison, plain, root)
    networks, experiment = (
        {"model.": ("base", parts.base)},
        SimpleNamespace(parts={"base": parts.base}, base_params=parts.base_params),
    )
    rates = np.stack([convert.flatten(parts.params)[f"rates/{path}"] for path in parts.kernels])
    for kind in ("enn", "ft", "lu"):
        keys = [key for key in saved[f"{kind}_state_dict_keys"] if key != "model_config"]
        tensors = {
            key: rates if key == "edit_lrs" else named(key, networks, parts.params) for key in keys
        }
        comparison.check(
            f"{kind}_state_dict_keys/edit_lrs",
            np.array("edit_lrs" in tensors),
            np.array(kind == "enn"),
        )
        compare_import(
            comparison,
            f"{kind}_state_dict_keys",
            "enn",
            {"edit_lrs": rates} | tensors,
            experiment,
            parts.kernels,
            parts.params,
        )


def run_mend(
    comparison: Comparison, saved: dict[str, Any], plain: golden.Case, cases: Path, root: Path
) -> None:
    """MEND, with the moments of one edit; and how many tokens they know after an edit that follows
    the reload."""
    parts = mend.build(comparison, plain, cases, root)
    edits = parts.reader.batch(
        golden.batch(cases, mend.first_batch(plain.manifest, cases)), None
    ).edits
    renew = mend.Passes.of(parts).update
    params = parts.params | {"moments": renew(parts.params, parts.base_params, edits, True)[1]}
    leaves, tensors = convert.flatten(params), {}
    for key in [key for key in saved["gtn_state_dict_keys"] if key != "model_config"]:
        if key == "edit_lrs" or ".layers." in key:
            path = locate(key, parts.kernels)
            tensors[key] = turned(path, leaves[path])
        else:
            networks, part = key.removeprefix("gtn.").rsplit(".", 1)
            name = group(networks, parts.kernels)
            tensors[key] = moment(params["moments"][name], part, int(name.split("x")[0]))
    experiment = SimpleNamespace(parts={}, base=parts.base, base_params=parts.base_params)
    imported = compare_import(
        comparison,
        "gtn_state_dict_keys",
        "mend",
        tensors,
        experiment,
        parts.kernels.values(),
        params,
    )

    again = renew(imported, parts.base_params, edits, True)[1]
    loaded, after = saved["k_loaded_then_after_one_edit"]
    comparison.check("k loaded", counts(imported["moments"]), np.float32(loaded))
    comparison.check(
        "k after one edit", counts(again) - counts(imported["moments"]), np.float32(after)
    )
    comparison.depart(
        "MEND's running moments go on after a reload, where the original's restart: what an edit"
        " adds to them is compared"
    )


def counts(moments: dict[str, Moments]) -> np.ndarray:
    return np.array([np.float32(found["count"]) for found in moments.values()])


def named(key: str, networks: dict[str, tuple[str, Model]], params: Any) -> np.ndarray:
    """The parameter that a tensor of the original holds, in its orientation; of weights that are
    stored twice, either."""
    prefix = next(prefix for prefix in networks if key.startswith(prefix))
    part, model = networks[prefix]
    bare = convert.canonical(key.removeprefix(prefix))
    leaves = convert.flatten(params[part])
    path = convert.path_of(
        model.network.copies(model.module.config).get(bare, bare), model.network.rules, leaves
    )
    return turned(str(path), leaves[str(path)]) if path in leaves else np.zeros(0)


def compare_import(
    comparison: Comparison,
    name: str,
    editor: str,
    tensors: dict[str, np.ndarray],
    experiment: Any,
    kernels: Any,
    params: Any,
) -> Any:
    """Imports the tensors as an archive of an editor, and compares every parameter with the one
    that was put in. Returns what was imported."""
    readers = {key: lambda tensor=tensor: tensor for key, tensor in tensors.items()}
    config = SimpleNamespace(editor=editor, inner=tuple(map(re.escape, kernels)))
    imported = import_archive.imported(
        readers, experiment, config, jax.tree.map(jnp.asarray, params), Path(name)
    )
    ours = convert.flatten(params)
    for path, leaf in convert.flatten(imported).items():
        comparison.check(f"{name}/{path}", leaf, ours[path])
    return imported
