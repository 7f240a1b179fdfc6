"""Scores of tasks whose answers are right or wrong."""

from __future__ import annotations

from typing import Any

from serac_jax.core.batch import EditBatch
from serac_jax.core.metrics import (
    Score,
    answer_kept,
    inside_score,
    mean_kl,
    outside_score,
    whole_answer_right,
)


def right_or_wrong(
    before: tuple[Any, Any], after: tuple[Any, Any], batch: EditBatch
) -> dict[str, Score]:
    """Scores of a batch, a value per question, under teacher forcing.

    Args:
      before: logits of the queries in scope and out of scope before the edits.
      after: the same after the edits.
      batch: the edits and queries.

    Returns:
      edit_success: 1 where the whole new answer is the most likely one, in scope.
      drawdown: 1 where an answer out of scope changed.
      kl: KL(before ‖ after) per token, out of scope.
    """
    inside, outside = batch.inside, batch.outside
    moved = 1 - answer_kept(before[1], after[1], outside.weight)
    return {
        "edit_success": inside_score(
            batch, whole_answer_right(after[0], inside.labels, inside.weight)
        ),
        "drawdown": outside_score(batch, moved),
        "kl": outside_score(batch, mean_kl(before[1], after[1], outside.weight)),
    }
