"""What an editor answered: a line of predictions.jsonl for every question.

A line is an object with

    kind        the kind of question, as listed under "kinds" in results.json
    question    the question
    wanted      the answer that counts as right; out of scope, the answer before the edits; null for
                an opinion that the edit should make less likely
    before      the generated answer of the base model
    after       the generated answer after the edits
    right       whether `after` is `wanted`, but for case, punctuation and articles; null where no
                single answer is right
    edit        {"index", "prompt", "answer"}: the edit that the question tests
    nearest     the index of the stored edit that is nearest to the question
    score       how likely the question is in the scope of that edit, from 0 to 1
    hit         whether that edit answered the question
    source      where the question comes from, such as a file and line

`nearest`, `score` and `hit` are null for editors without a memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from serac_jax.core.console import escaped
from serac_jax.tasks.kinds import Kind
from serac_jax.text.queries import Query, TextBatch
from serac_jax.text.squad import normalized
from serac_jax.training.steps import Routes

Prediction = dict[str, Any]


def predictions(
    texts: TextBatch,
    answers: dict[str, Any],
    routes: Routes | None,
    kinds: tuple[Kind, ...],
    words: Callable[[Any], str],
    first: int,
) -> Iterator[Prediction]:
    """The lines of a batch.

    Args:
      texts: the batch in words.
      answers: generated answers by "inside_before", "inside_after", "outside_before" and
        "outside_after".
      routes: the nearest edit of each query; None for editors without a memory.
      kinds: the task's kinds of questions.
      words: an answer's ids -> text.
      first: the index of the batch's first edit.
    """
    known = {kind.name: kind for kind in kinds}
    for side, queries, of in (
        ("inside", texts.inside, texts.edit_of),
        ("outside", texts.outside, texts.outside_of),
    ):
        routed = getattr(routes, side) if routes else None
        for row, query in enumerate(queries):
            edit = texts.edits[of[row]]
            if query is None or edit is None:
                continue
            before, after = (words(answers[f"{side}_{when}"][row]) for when in ("before", "after"))
            yield {
                "kind": query.kind,
                "question": query.question,
                **judged(query, known[query.kind], before, after),
                "edit": {
                    "index": first + of[row],
                    "prompt": edit.question,
                    "answer": edit.answer,
                },
                **decided(routed, row, first),
                "source": query.source,
            }


def judged(query: Query, kind: Kind, before: str, after: str) -> Prediction:
    """The answers before and after the edits, and whether the latter is the one that is wanted."""
    answer = query.answer if query.wanted else None
    wanted = answer if kind.inside else before
    right = normalized(after) == normalized(wanted or "") if kind.one_answer else None
    return {"wanted": wanted, "before": before, "after": after, "right": right}


def decided(routed: Any, row: int, first: int) -> Prediction:
    """The nearest edit of a query and its score."""
    if routed is None:
        return {"nearest": None, "score": None, "hit": None}
    score = float(np.exp(routed.log_similarity[row]))
    return {
        "nearest": first + int(routed.index[row]),
        "score": round(score, 6),
        "hit": bool(routed.hit[row]),
    }


def examples(found: list[Prediction], count: int) -> list[Prediction]:
    """A few predictions, of all kinds in turn."""
    kinds: dict[str, list[Prediction]] = {}
    for prediction in found:
        kinds.setdefault(prediction["kind"], []).append(prediction)
    rounds = range(max(map(len, kinds.values()), default=0))
    chosen = (group[turn] for turn in rounds for group in kinds.values() if turn < len(group))
    return [prediction for prediction, _ in zip(chosen, range(count), strict=False)]


def shown(found: list[Prediction]) -> str:
    """Predictions as lines of text."""
    return "\n".join(
        f"  edit: {escaped(each['edit']['prompt'])} → {escaped(each['edit']['answer'])}\n"
        f"  {each['kind']}: {escaped(each['question'])}\n"
        f"    before: {escaped(str(each['before']))}\n"
        f"    after:  {escaped(str(each['after']))}"
        for each in found
    )
