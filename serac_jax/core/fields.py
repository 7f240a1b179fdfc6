"""Config fields: a default, a meaning and the values that are accepted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """Which values a field accepts."""

    says: str  # completes "expected …"
    holds: Callable[[Any], bool]


class Field(NamedTuple):
    """One field of a config section.

    kind: the type of a value where the default is None.
    """

    default: Any
    meaning: str
    rule: Rule | None = None
    kind: type | None = None


Fields = Mapping[str, Field]  # a section: its fields by name, in the order in which they are shown


def one_of(*choices: str) -> Rule:
    """One of a few words."""
    return Rule(f"one of {', '.join(map(repr, choices))}", lambda value: value in choices)


def some_of(*choices: str) -> Rule:
    """A tuple of such words, which may be empty."""

    def holds(value: tuple[object, ...]) -> bool:
        return all(one in choices for one in value)

    return Rule(f"a tuple of some of {', '.join(map(repr, choices))}", holds)


def are_patterns(values: tuple[Any, ...]) -> bool:
    """Whether all values are regular expressions."""
    return all(map(is_pattern, values))


LARGEST = 2**31 - 1  # of whole numbers: steps are counted in 32 bits
COUNT = Rule("an integer from 1 to 2147483647", lambda value: 1 <= value <= LARGEST)
NATURAL = Rule("an integer from 0 to 2147483647", lambda value: 0 <= value <= LARGEST)
POSITIVE = Rule("a finite number above 0", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Rule("a finite number of at least 0", lambda value: 0 <= value < math.inf)
SHARE = Rule("a number from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_ONE = Rule("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
FINITE = Rule("a finite number", math.isfinite)
AXIS = Rule(
    "a number of devices, or -1 for all that are left",
    lambda value: 1 <= value <= LARGEST or value == -1,
)
DTYPES = ("float32", "bfloat16")  # of weights and computation
DTYPE = one_of(*DTYPES)
PATTERNS = Rule("a tuple of regular expressions", are_patterns)


def is_pattern(value: Any) -> bool:
    """Whether a value is a regular expression."""
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return isinstance(value, str)
