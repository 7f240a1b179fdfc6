"""One score for three views of a pair: how near the edit and the question are, what the reader says
of them, and which names they share.

The views have different blind spots: a sentence encoder hardly sees that a question asks for
another relation, a small reader hardly that it names another subject, and neither sees that two
names differ by a letter. A logistic regression, fitted to calibration questions, combines them into
one number in [0, 1].
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# Words that name nothing, so that two texts may differ in them.
FUNCTION_WORDS = frozenset(
    """a an the of in on at to for by from with as and or not no is are was were be been being am do
    does did done has have had can could will would shall should may might must what who whom whose
    which where when why how that this these those it its he she they them his her their there s i
    you we my your our if then than so but about into over under after before during between also
    any some all name named called tell me please give""".split()
)
WORD = re.compile(r"\w+(?:[.'’-]\w+)*")
VIEWS = (
    "cosine",
    "in_scope",
    "same",
    "names_shared",
    "names_foreign",
    "answer_named",
    "words_shared",
    "words_foreign",
    "in_scope × names_shared",
    "in_scope × names_foreign",
    "in_scope × answer_named",
    "cosine × words_foreign",
)
LARGEST = 12.0  # of a log-odds


def words(text: str) -> list[str]:
    """The words of a text, without possessive endings."""
    return [re.sub(r"['’]s?$", "", word) for word in WORD.findall(text)]


def contents(text: str) -> set[str]:
    """The words of a text that are more than grammar, in lower case."""
    return {word.casefold() for word in words(text)} - FUNCTION_WORDS


def names(text: str) -> set[str]:
    """The words of a text that look like parts of names, or are numbers, in lower case."""
    return {
        word.casefold()
        for word in words(text)
        if (word[:1].isupper() or any(letter.isdigit() for letter in word))
        and word.casefold() not in FUNCTION_WORDS
    }


def share(part: set[str], whole: set[str], without: float) -> float:
    """The share of `part` that is in `whole`; `without` where it is empty."""
    return len(part & whole) / len(part) if part else without


def views(
    prompt: str,
    answer: str,
    question: str,
    cosine: float,
    verdicts: Sequence[float],
) -> Float[np.ndarray, " f"]:
    """What the score of a pair is made of, in the order of VIEWS.

    Args:
        prompt, answer: of the edit.
        cosine: of the vectors of the edit and the question.
        verdicts: log-probabilities of the reader's verdicts: same, follows, unrelated.
    """
    same, follows, unrelated = verdicts
    scope = float(np.clip(np.logaddexp(same, follows) - unrelated, -LARGEST, LARGEST))
    stated, asked, replied = contents(prompt), contents(question), contents(answer)
    known = stated | replied
    names_shared = share(names(prompt), asked, share(stated, asked, 1.0))
    names_foreign = 1 - share(names(question), known, 1.0)
    answer_named = share(replied, asked, 0.0)
    words_foreign = 1 - share(asked, known, 1.0)
    return np.array(
        [
            cosine,
            scope,
            float(np.clip(same - follows, -LARGEST, LARGEST)),
            names_shared,
            names_foreign,
            answer_named,
            share(stated, asked, 1.0),
            words_foreign,
            scope * names_shared,
            scope * names_foreign,
            scope * answer_named,
            cosine * words_foreign,
        ]
    )


def combined(found: Float[np.ndarray, " f"], weights: Sequence[float]) -> float:
    """The score of a pair, in [0, 1].

    Args:
        found: its views.
        weights: one for each, and the intercept.
    """
    return float(1 / (1 + np.exp(-(found @ np.asarray(weights[:-1]) + weights[-1]))))


def fit(
    found: Float[np.ndarray, "n f"],
    inside: Float[np.ndarray, " n"],
    share: Float[np.ndarray, " n"],
    penalty: float = 1.0,
) -> list[float]:
    """Weights by logistic regression, in which both sides count the same.

    Newton's method on a convex function: 30 steps are more than it takes.

    Args:
        found: views of pairs.
        inside: 1 for pairs in scope, 0 for the others.
        share: how much each pair counts among those of its side.
        penalty: of the squared weights, in units of a pair.
    """
    center, spread = found.mean(0), found.std(0) + 1e-6
    x = np.column_stack([(found - center) / spread, np.ones(len(found))])
    sides = [share * side for side in (inside, 1 - inside)]
    weight = sum(side * (0.5 * len(x) / side.sum()) for side in sides)
    ridge = penalty * np.diag([1.0] * found.shape[1] + [0.0])
    w = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (weight * (p - inside)) + ridge @ w
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge
        w -= np.linalg.solve(curvature + 1e-9 * np.eye(len(w)), gradient)
    scaled = w[:-1] / spread
    return [*scaled.tolist(), float(w[-1] - scaled @ center)]
