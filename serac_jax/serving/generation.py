"""The texts of answers, once it is decided which edit answers each question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from serac_jax.serving.readers import Answering, History
from serac_jax.serving.verdict import Verdict


def texts(
    base: Answering,
    reader: Answering,
    questions: Sequence[str],
    verdicts: Sequence[Verdict],
    histories: Sequence[History] | None = None,
    limit: int | None = None,
) -> list[str]:
    """An edit's own answer where the question asks the same, else the reader's where an edit
    answers, and only for the rest the base model's.

    Args:
        histories: earlier turns of each question's conversation.
        limit: the most tokens that are generated for an answer.
    """
    found = {at: each.first for at, each in enumerate(verdicts) if each.hit and each.first}
    known = {at: near.edit.answer for at, near in found.items() if near.verdict == "same"}
    hits = {at: near.edit for at, near in found.items() if at not in known}
    misses = [at for at, verdict in enumerate(verdicts) if not verdict.hit]

    def asked(places: Iterable[int]) -> tuple[list[str], list[History]]:
        rows = [(questions[at], histories[at] if histories else ()) for at in places]
        return [question for question, _ in rows], [history for _, history in rows]

    after = reader.after(list(hits.values()), *asked(hits), limit)
    alone = base(*asked(misses), limit)
    known |= dict(zip([*hits, *misses], [*after, *alone], strict=True))
    return [known[at] for at in range(len(questions))]
