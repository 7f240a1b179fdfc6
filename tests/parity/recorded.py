"""Recorded batches as the program's own, and recorded arrays in its orientation: what the
comparisons of all editors share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from transformers import PreTrainedTokenizerBase

from serac_jax.core.batch import EditBatch, Examples, Tokens, take
from serac_jax.core.losses import edit_loss, locality_loss
from serac_jax.core.metrics import Score, answer_kept, mean, whole_answer_right
from serac_jax.core.types import Params
from serac_jax.models import Model, convert
from serac_jax.models.blenderbot import Blenderbot
from serac_jax.tasks.sent import sent_questions
from serac_jax.text.tokens import pad, prefix_token_count, suffix_token_count
from tests.parity import golden
from tests.parity.compare import Comparison
from tests.parity.precision import load, real


def turned(path: str, leaf: Any) -> np.ndarray:
    """A leaf in the orientation of PyTorch, whose matrices multiply from the left; or back."""
    return np.asarray(leaf).T if path.endswith(("/kernel", "/up", "/down")) else np.asarray(leaf)


# One of the original's names -> the parameter path here; several paths where one of its arrays
# holds a number for each.
Locate = Callable[[str], str | tuple[str, ...]]


def recorded_leaves(case: golden.Case, prefix: str) -> dict[str, str]:
    """Recorded arrays of parameters, directly below a prefix: the original's name of each, by its
    name in the case."""
    return {
        name: name.removeprefix(f"{prefix}/")
        for name in case
        if name.startswith(f"{prefix}/") and "/" not in name.removeprefix(f"{prefix}/")
    }


def compare_leaves(
    comparison: Comparison,
    case: golden.Case,
    prefix: str,
    tree: Any,
    locate: Locate,
    skipped: Collection[str] = (),
) -> None:
    """Recorded parameters or gradients; `skipped`, by the original's names, are those whose
    gradient is rounding noise."""
    leaves = convert.flatten(tree)
    for name, original in recorded_leaves(case, prefix).items():
        if original in skipped:
            comparison.depart(
                "parameters whose gradient is rounding noise are not compared after a step on a"
                " gradient that was not recorded"
            )
            continue
        paths = locate(original)
        ours = (
            turned(paths, leaves[paths])
            if isinstance(paths, str)
            else np.stack([leaves[path] for path in paths])
        )
        comparison.check(name, ours, case[name])


def with_recorded(case: golden.Case, prefix: str, tree: Any, locate: Locate) -> tuple[Any, bool]:
    """The tree, with every leaf that was recorded in its place; and whether there were any."""
    leaves, found = convert.flatten(tree), recorded_leaves(case, prefix)
    for name, original in found.items():
        paths = locate(original)
        leaves |= (
            {paths: turned(paths, case[name])}
            if isinstance(paths, str)
            else dict(zip(paths, case[name], strict=True))
        )
    return jax.tree.map(real, convert.unflatten(leaves)), bool(found)


def words(tokenizer: Any, ids: np.ndarray) -> list[str]:
    """Ids as the original turns them into text again: without special tokens, blanks cleaned up."""
    return tokenizer.batch_decode(
        np.where(ids < 0, tokenizer.pad_token_id, ids),
        skip_special_tokens=True,
        clean_up_tokenization_spaces=True,
    )


def ids_of(tokenizer: Any, texts: list[str]) -> Tokens:
    rows = tokenizer(texts)["input_ids"]
    return pad(rows, max(map(len, rows)))


class Unshifted(Blenderbot):
    """Reads every label itself where it should read the one before it, as the original's base model
    does.

    Where a text is wholly masked, padding is attended to as much as words; PyTorch's table of
    embeddings still learns nothing from it."""

    padding: int

    def embed(self, ids: Array) -> Array:
        x = super().embed(ids)
        return jnp.where((ids == self.padding)[..., None], jax.lax.stop_gradient(x), x)

    def __call__(self, tokens: Tokens, labels: Array, label_mask: Array | None = None) -> Array:
        return self.logits_after(labels, jnp.ones(labels.shape, bool), tokens)


@dataclass(frozen=True, eq=False)
class BaseAsRecorded(Model):
    """Blenderbot with the decoder inputs and the input masks of the original's base model; but what
    was spliced is read as it should be.

    The masks are the queries' own prefixes (see `Reader`).
    """

    shifted: Model = field(kw_only=True)

    @classmethod
    def of(cls, model: Model) -> BaseAsRecorded:
        fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
        return cls(
            **fields | {"module": Unshifted(model.module.config, model.tokenizer.pad_token_id)},
            shifted=model,
        )

    def logits(self, params: Params, examples: Examples, key: Array | None = None) -> Array:
        if examples.prefix.ids.shape != examples.inputs.ids.shape:
            return self.shifted.logits(params, examples, key)
        return super().logits(params, examples._replace(inputs=examples.prefix), key)


def load_base(manifest: dict[str, Any], root: Path, comparison: Comparison) -> tuple[Model, Params]:
    """The base model of a case, which reads what the original's read."""
    model, params = load(root / manifest["config"]["model"]["name"])
    if not isinstance(model.module, Blenderbot):
        return model, params
    comparison.depart(
        "the base model is given the original's unshifted decoder inputs, and token ids as masks"
        " out of scope"
    )
    return BaseAsRecorded.of(model), params


@dataclass
class Reader:
    """Turns recorded batches into ours: token ids as they are, and their texts tokenised for the
    scope classifier, if there is one.

    The prefix of a query, which no editor reads, holds the input as the original's base model reads
    it, with a mask of its own."""

    base: PreTrainedTokenizerBase
    scope: PreTrainedTokenizerBase | None = None

    def examples(self, recorded: dict[str, Any], edit: bool) -> Examples:
        tokenizer, inputs, labels = (
            self.base,
            recorded["input_ids"].astype(np.int32),
            recorded["labels"],
        )
        questions, scope = words(tokenizer, inputs), pad([[] for _ in inputs], 0)
        prefix = Tokens(inputs, recorded["attention_mask"] == 1)
        if edit and self.scope:
            answers, open_, close = (
                words(tokenizer, labels),
                prefix_token_count(tokenizer),
                suffix_token_count(tokenizer),
            )
            asked, told = (tokenizer(texts)["input_ids"] for texts in (questions, answers))
            bare = [
                question[: len(question) - close] + answer[open_ : len(answer) - close]
                for question, answer in zip(asked, told, strict=True)
            ]
            prefix = pad(bare, max(map(len, bare)))
            separator = self.scope.sep_token
            questions = [
                f"{question}{separator}{answer}{separator}"
                for question, answer in zip(questions, answers, strict=True)
            ]
        if self.scope:
            scope = ids_of(self.scope, questions)
        real = labels >= 0
        ours = Examples(
            Tokens(inputs, recorded["attention_mask"].astype(bool)),
            scope,
            prefix,
            np.where(real, labels, 0).astype(np.int32),
            real.astype(np.float32),
        )
        return jax.tree.map(np.asarray, ours)

    def batch(self, recorded: dict[str, Any], limit: int | None) -> EditBatch:
        """`limit`: read only so many in-scope queries."""
        edits = self.examples(recorded["edit_inner"], True)
        inside, outside = (
            self.examples(recorded["edit_outer"], False),
            self.examples(recorded["loc"], False),
        )
        rows, away = len(inside.labels[:limit]), len(outside.labels)
        pairs = recorded["pos_pairs"].reshape(-1, 2)
        inside, of = (
            jax.tree.map(lambda leaf: leaf[:rows], inside),
            pairs[:, 1][pairs[:, 0] < rows].astype(np.int32),
        )
        wanted = (
            np.equal(recorded["inner_sent"], recorded["outer_sent"])[:rows]
            if "inner_sent" in recorded
            else np.ones(rows, bool)
        )
        return EditBatch(
            edits,
            inside,
            of,
            wanted,
            np.zeros(rows, bool),
            outside,
            np.arange(away, dtype=np.int32),
            np.zeros(away, bool),
        )


def widen(batches: list[EditBatch]) -> list[EditBatch]:
    """Pads every array of several batches to the widest of its kind, in and out of scope alike, so
    that less is compiled.

    In scope there are as many queries in each, the last ones of weight 0. Inputs out of scope whose
    mask is empty stay as they are: they are attended to uniformly, padding included."""
    masks = [batch.outside.prefix.mask for batch in batches]
    masked = any(mask.size > 0 and not bool(mask.any()) for mask in masks)
    rows = max(len(batch.edit_of) for batch in batches)
    batches = [with_rows(batch, rows) for batch in batches]
    edits, inside, outside = (
        [getattr(batch, field) for batch in batches] for field in ("edits", "inside", "outside")
    )
    if masked:
        inside = widest(inside)
    else:
        both = widest(inside + outside)
        inside, outside = both[: len(batches)], both[len(batches) :]
    padded = zip(batches, widest(edits), inside, outside, strict=True)
    return [
        batch._replace(edits=edited, inside=asked, outside=other)
        for batch, edited, asked, other in padded
    ]


def with_rows(batch: EditBatch, rows: int) -> EditBatch:
    """The batch with so many queries in scope."""
    missing = rows - len(batch.edit_of)
    padded = {
        name: jax.tree.map(
            lambda leaf: np.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1)),
            getattr(batch, name),
        )
        for name in ("inside", "edit_of", "inside_kind")
    }
    return batch._replace(wanted=np.pad(batch.wanted, (0, missing), constant_values=True), **padded)


def widest(trees: list[Any]) -> list[Any]:
    """Pads the second axis of the arrays of several trees to the widest of each place."""
    flat = [jax.tree.flatten(tree) for tree in trees]
    widths = [
        max(leaf.shape[1] for leaf in leaves) if leaves[0].ndim == 2 else 0
        for leaves in zip(*(leaves for leaves, _ in flat), strict=True)
    ]

    def pad_to(leaf: Any, width: int) -> Any:
        return np.pad(leaf, ((0, 0), (0, width - leaf.shape[1]))) if leaf.ndim == 2 else leaf

    return [
        jax.tree.unflatten(
            tree, [pad_to(leaf, width) for leaf, width in zip(leaves, widths, strict=True)]
        )
        for leaves, tree in flat
    ]


@jax.jit
def sentiment(batch: EditBatch, before: Array, after: Array) -> dict[str, Array]:
    """The original's scalars of sentiment editing, which pool all edits of a batch, from logits in
    scope before and after the edits."""
    pooled = batch._replace(
        edits=take(batch.edits, jnp.arange(1)), edit_of=jnp.zeros_like(batch.edit_of)
    )
    nowhere = jnp.zeros((*batch.outside.labels.shape, before.shape[-1]))
    found = sent_questions.score((before, nowhere), (after, nowhere), pooled)
    return {
        f"{place}acc_sent": found["edit_success"].value[0] for place in ("edit/", "stat_dump/")
    } | {
        "stat_dump/z_sent": found["sentiment"].value[0],
        "stat_dump/z_topic": found["topic"].value[0],
    }


def kl_rounding(before: Any, after: Any, weight: Any) -> float:
    """How far two programs in float32 may be apart in a mean KL(before ‖ after), a small difference
    of large numbers.

    Each rounds every logarithm of a probability, and the sum of exponentials in it, by half a unit
    in the last place."""
    logs = [np.asarray(jax.nn.log_softmax(logits), np.float64) for logits in (before, after)]
    size = (np.exp(logs[0]) * (np.abs(logs[0]) + np.abs(logs[1]) + 2)).sum(-1)
    return float(np.finfo(np.float32).eps * np.average(size, weights=weight))


def cropped(ours: Any, recorded: np.ndarray) -> np.ndarray:
    """Without the rows and columns that were padded on."""
    return np.asarray(ours)[tuple(slice(size) for size in recorded.shape[:2])]


@partial(jax.jit, static_argnums=4)
def scalars(
    batch: EditBatch, inside: Array, before: Array, outside: Array, unlikelihood: bool
) -> dict[str, Array]:
    """The original's scalars of a batch of edits, from logits in scope after them, and out of scope
    before and after."""
    answer, kl = (
        edit_loss(inside, batch.inside, batch.wanted, unlikelihood),
        locality_loss(before, outside, batch.outside),
    )
    log_prob = -edit_loss(inside, batch.inside, batch.wanted, False)
    return {
        "edit/acc": mean(
            Score(
                whole_answer_right(inside, batch.inside.labels, batch.inside.weight),
                batch.inside.rows,
            )
        ),
        "edit/log_prob": log_prob,
        "edit/prob": jnp.exp(log_prob),
        "loss/edit": answer,
        "loss/loc": kl,
        "kl/edit": kl,
        "retain/edit": mean(
            Score(answer_kept(before, outside, batch.outside.weight), batch.outside.rows)
        ),
    }
