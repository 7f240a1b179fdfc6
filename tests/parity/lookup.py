"""Lookup cache cases (`lu`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from serac_jax.batch import EditBatch, Examples, take
from serac_jax.editors import Editor
from serac_jax.editors.lookup import Edited, Options, lookup
from serac_jax.losses import edit_loss, locality_loss
from serac_jax.models import Model, convert
from tests.parity import golden
from tests.parity.compare import Comparison
from tests.parity.outcome import Outcome, check, compare_outcome, load_base
from tests.parity.recorded import Reader, turned

PADDING = "padding of a stored label is no answer; the original writes it to the token −100"


class Parts(NamedTuple):
    """A case's model and editor."""

    base: Model
    base_params: Any
    editor: Editor
    onehot_logit: float
    apply: Any
    reader: Reader


def build(manifest: dict[str, Any], root: Path, comparison: Comparison) -> Parts:
    """The editor of a manifest's configuration; its keys average padding too, as the original's."""
    config = manifest["config"]
    base, base_params, reader = load_base(manifest, root, comparison)
    editor = lookup(base, Options(config["lu"]["threshold"], config["lu"]["onehot_logit"], mask_keys=False))
    return Parts(base, base_params, editor, config["lu"]["onehot_logit"], jax.jit(editor.apply), reader)


def write(parts: Parts, edits: Examples) -> Edited:
    """A memory of these edits alone."""
    return parts.editor.edit({}, parts.editor.start({}, parts.base_params, edits), edits)


def answers(comparison: Comparison, parts: Parts, edited: Edited, queries: Examples) -> Any:
    """The editor's logits, where an answer is looked up with the one thing put back that we leave out (PADDING)."""
    logits = parts.apply({}, edited, queries)
    decision = parts.editor.decide({}, edited, queries)
    stored = take(edited.memory.edits, decision.index)
    width = min(stored.weight.shape[1], logits.shape[1])
    padding = (stored.weight[:, :width] == 0) & (jnp.exp(decision.log_similarity) > 0.5)[:, None]
    if padding.any():
        comparison.depart(PADDING)
    return logits.at[:, :width, -100].add(parts.onehot_logit * padding.astype(logits.dtype))


def compare_batch(comparison: Comparison, case: golden.Case, prefix: str, parts: Parts, batch: EditBatch) -> None:
    edited = write(parts, batch.edits)
    memory = edited.memory
    if f"{prefix}/edit0/memory_keys" in case:
        comparison.check(f"{prefix}/edit0/memory_keys", memory.keys, case[f"{prefix}/edit0/memory_keys"])
        labels = np.where(memory.edits.weight > 0, memory.edits.labels, -100)
        comparison.check(f"{prefix}/edit0/memory_labels", labels, case[f"{prefix}/edit0/memory_labels"])
    logits = jax.jit(parts.base.logits)
    before = [logits(parts.base_params, queries) for queries in (batch.inside, batch.outside)]
    after = [answers(comparison, parts, edited, queries) for queries in (batch.inside, batch.outside)]
    compare_outcome(comparison, case, prefix, Outcome(*before, *after), batch, bool(parts.base.labels))


def gradient(parts: Parts, config: dict[str, Any], batch: EditBatch) -> Any:
    """Of the loss that the original trains editors with, by the base model's parameters; the lookup itself passes none on."""
    edited = write(parts, batch.edits)

    def loss(base_params: Any) -> Any:
        inside, outside = (parts.editor.apply({}, edited._replace(base=base_params), queries) for queries in (batch.inside, batch.outside))
        kl = locality_loss(jax.lax.stop_gradient(parts.base.logits(base_params, batch.outside)), outside, batch.outside)
        return config["cedit"] * edit_loss(inside, batch.inside, batch.wanted, config["unlikelihood"]) + config["cloc"] * kl

    return jax.jit(jax.grad(loss))(parts.base_params)


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """A whole case: the evaluation batch, then every training batch; between these the original trains the base model."""
    manifest = case.manifest
    config, parts, limit = manifest["config"], build(manifest, root, comparison), manifest["config"]["data"]["n_outer_max"]
    compare_batch(comparison, case, "eval", parts, parts.reader.batch(golden.batch(cases, manifest["eval_batch"]), limit))
    if manifest["train_batches"]:
        comparison.depart("nothing is trained; the original trains the base model: its steps are taken here by the comparison alone")
    optimizer = optax.chain(optax.clip_by_global_norm(config["grad_clip"]), optax.adam(config["lr"]))
    state = optimizer.init(parts.base_params)
    for number, name in enumerate(manifest["train_batches"]):
        if f"train{number}/grad_norm" not in manifest["values"]:
            break  # the original's step failed
        batch = parts.reader.batch(golden.batch(cases, name), limit)
        compare_batch(comparison, case, f"train{number}", parts, batch)
        slope = gradient(parts, config, batch)
        norm = manifest["values"][f"train{number}/grad_norm"]
        comparison.check(f"train{number}/grad_norm", optax.tree.norm(slope), np.float32(norm))
        leaves = convert.flatten(slope)
        for key in [key for key in case if key.startswith("grad0/model.")] if number == 0 else ():
            path = convert.path_of(convert.canonical(key.removeprefix("grad0/model.")), parts.base.network.rules, leaves)
            comparison.check(key, turned(path, leaves[path]), case[key])
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, state = optimizer.update(slope, state)
        parts = parts._replace(base_params=optax.apply_updates(parts.base_params, updates))


def run_sequence(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Edits one after the other, which in the original replace one another: each is compared in a memory of its own."""
    comparison.depart("an edit extends the memory; the original's replaces it")
    manifest = case.manifest
    parts = build(manifest, root, comparison)
    queries = parts.reader.batch(golden.batch(cases, manifest["eval_batch"]), None)
    for number, name in enumerate(manifest["edits"]):
        edited = write(parts, parts.reader.batch(golden.batch(cases, name), None).edits)
        comparison.check(f"after{number}/memory_keys", edited.memory.keys, case[f"after{number}/memory_keys"])
        for side, examples in (("edit_outer", queries.inside), ("loc", queries.outside)):
            check(comparison, case, f"after{number}/{side}/logits", answers(comparison, parts, edited, examples), examples.weight)
