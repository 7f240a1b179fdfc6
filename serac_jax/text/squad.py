"""When two answers are the same: SQuAD's normalisation (Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """An answer without case, punctuation, articles and extra blanks."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def right(answer: str, accepted: Iterable[str]) -> bool:
    """Whether an answer equals one of the accepted ones after normalisation.

    Answers of which normalisation leaves nothing, such as "A" or "+", are compared as they are.
    """
    said = normalized(answer)
    return any(
        said == normalized(one) if said and normalized(one) else answer.strip() == one.strip()
        for one in accepted
    )
