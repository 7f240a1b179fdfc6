"""Scores of tasks whose answers are right or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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


def right_or_wrong_answers(answers: Mapping[str, Any], batch: EditBatch) -> dict[str, Score]:
    """Scores of a batch by generated answers, a value per question.

    Args:
      answers: token ids "n t" under "inside_after", "outside_before" and "outside_after".
      batch: the edits and queries.

    Returns:
      edit_success_generated: 1 where the new answer was given, token by token, in scope.
      drawdown_generated: 1 where an answer out of scope changed.
    """
    right = same_tokens(answers["inside_after"], batch.inside.labels)
    kept = same_tokens(answers["outside_before"], answers["outside_after"])
    return {
        "edit_success_generated": inside_score(batch, right),
        "drawdown_generated": outside_score(batch, 1 - kept),
    }


def same_tokens(one: Any, other: Any) -> Any:
    """1 for each row whose tokens agree, as far as both go."""
    width = min(one.shape[1], other.shape[1])
    return (one[:, :width] == other[:, :width]).all(-1).astype(np.float32)
