"""Which facts are held together, and which questions are asked meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from serac_jax.core.errors import UserError
from serac_jax.tasks.facts.fact_kinds import BY_NAME
from serac_jax.tasks.facts.fact_rows import Ask, Fact
from serac_jax.tasks.facts.held_facts import HeldSubjects, scored

ALL = "all"


class Item(NamedTuple):
    """A question to ask.

    Attributes:
      fact: The place of the fact that it tests.
      ask: The question.
    """

    fact: int
    ask: Ask


class Group(NamedTuple):
    """Facts that are held at once, and what is asked meanwhile.

    Attributes:
      edits: The number of edits, as it was asked for: "10", "all".
      held: The places of the facts.
      items: The questions.
    """

    edits: str
    held: list[int]
    items: list[Item]


class Plan(NamedTuple):
    """All questions in the order in which they are asked.

    Attributes:
      groups: For one number of edits after the other.
      left_out: {edits: {kind: questions}} that are not asked, as another held edit speaks to them.
      skipped: Numbers of edits that are more than there are facts.
    """

    groups: list[Group]
    left_out: dict[str, Counter[str]]
    skipped: list[str]

    @property
    def questions(self) -> int:
        return sum(len(group.items) for group in self.groups)


def sizes(text: str) -> list[str]:
    """The numbers of edits in a list such as "1,10,all".

    Raises:
      UserError: One is neither a number from 1 on nor "all".
    """
    found = [part.strip() for part in text.split(",")]
    for part in found:
        if part != ALL and not (part.isascii() and part.isdecimal() and 0 < int(part[:9]) < 10**8):
            raise UserError(
                f"--edits={text:.100}: {part[:30]!r} is not a number of edits; expected numbers"
                " from 1 on, or 'all', separated by commas, such as 1,10,all"
            )
    return list(dict.fromkeys(part.lstrip("0") if part != ALL else part for part in found))


def kinds(text: str) -> tuple[str, ...]:
    """The kinds in a list such as "prompt,rephrase"; all for an empty one.

    Raises:
      UserError: There is no such kind.
    """
    found = [part.strip() for part in text.split(",")] if text else list(BY_NAME)
    for part in found:
        if part not in BY_NAME:
            raise UserError(
                f"--kinds={text:.100}: {part[:30]!r} is not a kind of question; expected"
                f" {', '.join(BY_NAME)}"
            )
    return tuple(found)


def plan(
    facts: Sequence[Fact],
    numbers: Sequence[str],
    asked: Sequence[str],
    limit: int = 0,
    seed: int = 0,
    each: bool = False,
    fill: int = 0,
) -> Plan:
    """Plans an evaluation.

    At N edits, the facts in an order drawn by the seed are held N at a time.

    Args:
      facts: One a prompt.
      numbers: Numbers of edits, see `sizes`.
      asked: The kinds of questions.
      limit: Only the first facts are asked about, up to about so many questions, and at each
        number of edits the same ones; 0: all.
      seed: Of the order.
      each: Asks about an edit right after it, while those before it are held; otherwise after all
        N edits.
      fill: The last so many facts are not asked about: they are held where the others are fewer
        than N.

    Raises:
      UserError: There are fewer facts than each of the numbers, or no such questions.
    """
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(facts) - fill).tolist()
    others = (draw.permutation(fill) + len(order)).tolist()
    chosen = set(first_of(order, facts, asked, limit))
    found = Plan([], {}, [])
    for number in numbers:
        size = len(facts) if number == ALL else int(number)
        if size > len(facts):
            found.skipped.append(number)
            continue
        left_out = found.left_out[number] = Counter()
        for held, own in (after_each if each else after_all)(order, others, size):
            items = list[Item]()
            subjects = HeldSubjects(facts[place] for place in held)
            for place, ask in questions(chosen.intersection(own), facts, asked):
                if scored(facts[place], ask, subjects):
                    items.append(Item(place, ask))
                else:
                    left_out[ask.kind] += 1
            if items:
                found.groups.append(Group(number, held, items))
    if not found.groups:
        raise UserError(
            f"nothing to ask: {len(facts)} facts, at {', '.join(numbers)} edits, of the kinds"
            f" {', '.join(asked)}"
        )
    return found


def after_all(
    order: Sequence[int], others: Sequence[int], size: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Places that are held together, and those that are then asked about.

    The last group is filled up with the first places, which are not asked about again, and with
    the others, which are never asked about.
    """
    for start in range(0, len(order), size):
        own = list(order[start : start + size])
        yield own + [*order[:start], *others][: size - len(own)], own


def after_each(
    order: Sequence[int], others: Sequence[int], size: int
) -> Iterator[tuple[list[int], list[int]]]:
    """As `after_all`, but each place is asked about while only those before it are held, and the
    others that fill a group up."""
    for start in range(0, len(order), size):
        own = list(order[start : start + size])
        first = list(others[: max(size - len(order), 0)])
        for count, place in enumerate(own, 1):
            yield first + own[:count], [place]


def first_of(
    order: Sequence[int], facts: Sequence[Fact], asked: Sequence[str], limit: int
) -> Iterator[int]:
    """The facts whose questions are asked: the first ones, up to so many questions; 0: all."""
    count = 0
    for place in order:
        if limit and count >= limit:
            return
        count += sum(ask.kind in asked for ask in facts[place].questions)
        yield place


def questions(
    places: Iterable[int], facts: Sequence[Fact], asked: Sequence[str]
) -> Iterator[tuple[int, Ask]]:
    """The questions of some facts that are of the kinds that are asked."""
    return (
        (place, ask)
        for place in sorted(places)
        for ask in facts[place].questions
        if ask.kind in asked
    )


def batches(plan: Plan, size: int, done: int) -> Iterator[list[tuple[Group, list[Item]]]]:
    """The questions, without the first `done`, in batches: answers are generated for a whole batch,
    however few are asked of a group."""
    rest = islice(((group, item) for group in plan.groups for item in group.items), done, None)
    while part := list(islice(rest, size)):
        found: list[tuple[Group, list[Item]]] = []
        for group, item in part:
            if not found or found[-1][0] is not group:
                found.append((group, []))
            found[-1][1].append(item)
        yield found
