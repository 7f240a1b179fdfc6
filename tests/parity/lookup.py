"""Lookup cache cases (`lu`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.core.batch import EditBatch, Examples
from serac_jax.core.losses import edit_loss, locality_loss
from serac_jax.editors.lookup.lookup_editor import Edited, Options, lookup
from serac_jax.editors.protocol import Editor
from serac_jax.models import Model, convert
from tests.parity import golden, training
from tests.parity.compare import Comparison
from tests.parity.outcome import Outcome, check, compare_outcome, load_base
from tests.parity.recorded import Reader

PADDING = "padding of a stored label is no answer; the original writes it to the token −100"


class Parts(NamedTuple):
    """A case's model and editor, and compiled functions."""

    base: Model
    base_params: Any
    editor: Editor
    onehot_logit: float
    write: Any  # (base parameters, edits) -> a memory of these edits alone
    route: Any
    apply: Any
    logits: Any
    gradient: Any
    reader: Reader

    def locate(self, name: str) -> str:
        """The parameter path of one of the original's names."""
        key = convert.canonical(name.removeprefix("model."))
        return convert.path_of(key, self.base.network.rules, convert.flatten(self.base_params))


def build(manifest: dict[str, Any], root: Path, comparison: Comparison) -> Parts:
    """The editor of a manifest's configuration; its keys average padding too, as the original's."""
    config = manifest["config"]
    base, base_params, reader = load_base(manifest, root, comparison)
    editor = lookup(
        base,
        Options(
            config["lu"]["threshold"],
            config["lu"]["onehot_logit"],
            mask_keys=False,
            exact_match=False,
        ),
    )

    def write(base_params: Any, edits: Examples) -> Edited:
        return editor.edit({}, editor.start({}, base_params, edits), edits)

    def loss(base_params: Any, batch: EditBatch) -> Any:
        """What the original trains editors with, and so the base model here; the lookup itself
        passes no gradient on."""
        edited = jax.lax.stop_gradient(write(base_params, batch.edits))._replace(base=base_params)
        inside, outside = (
            editor.apply({}, edited, queries) for queries in (batch.inside, batch.outside)
        )
        kl = locality_loss(
            jax.lax.stop_gradient(base.logits(base_params, batch.outside)), outside, batch.outside
        )
        return (
            config["cedit"] * edit_loss(inside, batch.inside, batch.wanted, config["unlikelihood"])
            + config["cloc"] * kl
        )

    functions = write, editor.route, editor.apply, base.logits, jax.grad(loss)
    return Parts(
        base, base_params, editor, config["lu"]["onehot_logit"], *map(jax.jit, functions), reader
    )


def answers(comparison: Comparison, parts: Parts, edited: Edited, queries: Examples) -> Any:
    """The editor's logits, where an answer is looked up with the one thing put back that we leave
    out (PADDING)."""
    logits = np.array(parts.apply({}, edited, queries))
    route = parts.route({}, edited, queries)
    missing = np.asarray(edited.table.edits.weight)[np.asarray(route.index)] == 0
    width = min(missing.shape[1], logits.shape[1])
    padding = missing[:, :width] & np.asarray(route.hit)[:, None]
    if padding.any():
        comparison.depart(PADDING)
        logits[:, :width, -100] += parts.onehot_logit * padding
    return jnp.asarray(logits)


def compare_batch(
    comparison: Comparison,
    case: golden.Case,
    prefix: str,
    parts: Parts,
    base_params: Any,
    batch: EditBatch,
) -> None:
    edited = parts.write(base_params, batch.edits)
    memory = edited.table
    if f"{prefix}/edit0/memory_keys" in case:
        comparison.check(
            f"{prefix}/edit0/memory_keys", memory.keys, case[f"{prefix}/edit0/memory_keys"]
        )
        labels = np.where(memory.edits.weight > 0, memory.edits.labels, -100)
        comparison.check(
            f"{prefix}/edit0/memory_labels", labels, case[f"{prefix}/edit0/memory_labels"]
        )
    before = [parts.logits(base_params, queries) for queries in (batch.inside, batch.outside)]
    after = [
        answers(comparison, parts, edited, queries) for queries in (batch.inside, batch.outside)
    ]
    compare_outcome(
        comparison, case, prefix, Outcome(*before, *after), batch, bool(parts.base.labels)
    )


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """A whole case: the evaluation batch, then every training batch; between these the original
    trains the base model."""
    manifest = case.manifest
    parts, limit = build(manifest, root, comparison), manifest["config"]["data"]["n_outer_max"]
    evaluated, trained = training.batches_of(manifest)
    batches = [
        parts.reader.batch(golden.batch(cases, name), limit) for name in (*evaluated, *trained)
    ]
    if evaluated:
        compare_batch(comparison, case, "eval", parts, parts.base_params, batches.pop(0))
    if trained:
        comparison.depart(
            "nothing is trained; the original trains the base model: its steps are taken here by"
            " the comparison alone"
        )
    learner = training.Learner(
        parts.editor._replace(groups=lambda params: jax.tree.map(lambda leaf: "weights", params)),
        parts.base_params,
        lambda params, batch: (parts.gradient(params, batch), {}),
        parts.locate,
        lambda prefix, params, batch: compare_batch(comparison, case, prefix, parts, params, batch),
    )
    training.run(comparison, case, learner, batches)


def run_sequence(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Edits one after the other, which in the original replace one another: each is compared in a
    memory of its own."""
    comparison.depart("an edit extends the memory; the original's replaces it")
    manifest = case.manifest
    parts = build(manifest, root, comparison)
    queries = parts.reader.batch(golden.batch(cases, manifest["eval_batch"]), None)
    for number, name in enumerate(manifest["edits"]):
        edited = parts.write(
            parts.base_params, parts.reader.batch(golden.batch(cases, name), None).edits
        )
        comparison.check(
            f"after{number}/memory_keys", edited.table.keys, case[f"after{number}/memory_keys"]
        )
        for side, examples in (("edit_outer", queries.inside), ("loc", queries.outside)):
            check(
                comparison,
                case,
                f"after{number}/{side}/logits",
                answers(comparison, parts, edited, examples),
                examples.weight,
            )
