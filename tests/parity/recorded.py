"""Recorded batches as the program's own, and recorded arrays in its orientation: what the comparisons of all editors share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from transformers import PreTrainedTokenizerBase

from serac_jax.batch import EditBatch, Examples, Tokens, take
from serac_jax.losses import edit_loss, locality_loss, nll
from serac_jax.metrics import Score, answer_kept, mean, whole_answer_right
from serac_jax.tasks.text import lead, pad, tail


def turned(path: str, leaf: Any) -> np.ndarray:
    """A leaf in the orientation of PyTorch."""
    return np.asarray(leaf).T if path.endswith("/kernel") else np.asarray(leaf)


def words(tokenizer: Any, ids: np.ndarray) -> list[str]:
    """Ids as the original turns them into text again: without special tokens, blanks cleaned up."""
    return tokenizer.batch_decode(np.where(ids < 0, tokenizer.pad_token_id, ids), skip_special_tokens=True, clean_up_tokenization_spaces=True)


def ids_of(tokenizer: Any, texts: list[str]) -> Tokens:
    rows = tokenizer(texts)["input_ids"]
    return pad(rows, max(map(len, rows)))


@dataclass
class Reader:
    """Turns recorded batches into ours: token ids as they are, and their texts tokenised for the scope classifier, if there is one."""

    base: PreTrainedTokenizerBase
    scope: PreTrainedTokenizerBase | None = None

    def examples(self, recorded: dict[str, Any], edit: bool) -> Examples:
        tokenizer, inputs, labels = self.base, recorded["input_ids"], recorded["labels"]
        questions = words(tokenizer, inputs)
        prefix = scope = pad([[] for _ in inputs], 0)
        if edit:
            answers, open_, close = words(tokenizer, labels), lead(tokenizer), tail(tokenizer)
            bare = [
                tokenizer(question)["input_ids"][:-close] + tokenizer(answer)["input_ids"][open_:-close]
                for question, answer in zip(questions, answers, strict=True)
            ]
            prefix = pad(bare, max(map(len, bare)))
            if self.scope:
                separator = self.scope.sep_token
                questions = [f"{question}{separator}{answer}{separator}" for question, answer in zip(questions, answers, strict=True)]
        if self.scope:
            scope = ids_of(self.scope, questions)
        real = labels >= 0
        ours = Examples(
            Tokens(inputs.astype(np.int32), recorded["attention_mask"].astype(bool)),
            scope,
            prefix,
            np.where(real, labels, 0).astype(np.int32),
            real.astype(np.float32),
        )
        return jax.tree.map(jnp.asarray, ours)

    def batch(self, recorded: dict[str, Any], limit: int | None) -> EditBatch:
        """`limit`: read only so many in-scope queries."""
        edits = self.examples(recorded["edit_inner"], True)
        inside, outside = self.examples(recorded["edit_outer"], False), self.examples(recorded["loc"], False)
        pairs = recorded["pos_pairs"]
        if limit is not None:
            inside, pairs = take(inside, jnp.arange(min(limit, len(inside.labels)))), pairs[pairs[:, 0] < limit]
        rows, away = len(inside.labels), len(outside.labels)
        no = jnp.zeros(rows, bool)
        return EditBatch(edits, inside, jnp.asarray(pairs[:, 1]), ~no, no, outside, jnp.arange(away), jnp.zeros(away, bool))


def widen(batches: list[EditBatch]) -> list[EditBatch]:
    """Pads every array of several batches to the widest of its kind."""
    trees = [jax.tree.flatten(batch) for batch in batches]
    widths = [max(leaf.shape[1] for leaf in leaves) if leaves[0].ndim == 2 else 0 for leaves in zip(*(leaves for leaves, _ in trees), strict=True)]

    def pad_to(leaf: Any, width: int) -> Any:
        return jnp.pad(leaf, ((0, 0), (0, width - leaf.shape[1]))) if leaf.ndim == 2 else leaf

    return [jax.tree.unflatten(tree, [pad_to(leaf, width) for leaf, width in zip(leaves, widths, strict=True)]) for leaves, tree in trees]


def kl_rounding(before: Any, after: Any, weight: Any) -> float:
    """What float32 loses in a mean KL(before ‖ after): a small difference of large logarithms, each rounded by half a unit in the last place."""
    logs = [np.asarray(jax.nn.log_softmax(logits), np.float64) for logits in (before, after)]
    size = (np.exp(logs[0]) * (np.abs(logs[0]) + np.abs(logs[1]))).sum(-1)
    return float(np.finfo(np.float32).eps / 2 * np.average(size, weights=weight))


def cropped(ours: Any, recorded: np.ndarray) -> np.ndarray:
    """Without the columns that were padded on."""
    return np.asarray(ours)[:, : recorded.shape[1]] if recorded.ndim > 1 else np.asarray(ours)


def scalars(batch: EditBatch, inside: Array, before: Array, outside: Array) -> dict[str, Array]:
    """The original's scalars of a batch of edits, from logits in scope after them, and out of scope before and after."""
    answer, kl = edit_loss(inside, batch.inside, batch.wanted), locality_loss(before, outside, batch.outside)
    log_prob = -nll(inside, batch.inside.labels, batch.inside.weight)
    return {
        "edit/acc": mean(Score(whole_answer_right(inside, batch.inside.labels, batch.inside.weight), batch.inside.rows)),
        "edit/log_prob": log_prob,
        "edit/prob": jnp.exp(log_prob),
        "loss/edit": answer,
        "loss/loc": kl,
        "kl/edit": kl,
        "retain/edit": mean(Score(answer_kept(before, outside, batch.outside.weight), batch.outside.rows)),
    }
