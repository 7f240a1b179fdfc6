"""Scores of experiments whose answers are right or wrong."""

from __future__ import annotations

from typing import Any

from serac_jax.core.batch import EditBatch
from serac_jax.core.metrics import (
    Score,
    answer_kept,
    mean_kl,
    split_by_difficulty,
    whole_answer_right,
)


def right_or_wrong(
    before: tuple[Any, Any], after: tuple[Any, Any], batch: EditBatch
) -> dict[str, Score]:
    """Scores of a batch, a row each, from logits (inside, outside) before and after the edits.

    edit_success: the whole new answer is the most likely one, in-scope queries. drawdown: 1 where
        an answer out of scope
    changed. "_hard" marks queries that are harder to place.
    """
    inside, outside = batch.inside, batch.outside
    easy_in, hard_in = split_by_difficulty(inside.rows, batch.hard_inside)
    easy_out, hard_out = split_by_difficulty(outside.rows, batch.hard_outside)
    success = whole_answer_right(after[0], inside.labels, inside.weight)
    moved = 1 - answer_kept(before[1], after[1], outside.weight)
    return {
        "edit_success": Score(success, inside.rows),
        "edit_success_easy": Score(success, easy_in),
        "edit_success_hard": Score(success, hard_in),
        "drawdown": Score(moved, easy_out),
        "drawdown_hard": Score(moved, hard_out),
        "kl": Score(mean_kl(before[1], after[1], outside.weight), easy_out),
    }
