"""Which stored edits a question may fall under: those of the same words, and those that scope
classifiers find. Embeddings propose a few edits; a cross-attention classifier, where there is one,
scores these again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from serac_jax.core.arrays import AnyArray
from serac_jax.editors.protocol import Thresholds
from serac_jax.edits.changes import difference
from serac_jax.edits.operations import State
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import normal
from serac_jax.edits.store import Store
from serac_jax.index.blocked import BlockedIndex, Index
from serac_jax.index.distance import Distance
from serac_jax.index.tags import Tags, TagTable, visible
from serac_jax.serving.answers import Near
from serac_jax.serving.classifiers import Embedder, Scorer
from serac_jax.text.buckets import bucket, chunks

PROPOSED = 8  # edits that are considered for each question
MANY = 131_072  # keys that are read from the disk, and written to the device, at a time
MakeIndex = Callable[[int, Distance], Index]  # from the width of keys and their distance
Vectors = list[Float[AnyArray, "b d"]]  # of texts, a chunk each; rows beyond the texts are padding


def ranked(nears: Iterable[Near], tags: Tags, thresholds: Thresholds) -> list[Near]:
    """Edits in the order in which they may answer a question: those above the threshold first;
    among these the question's own words, then edits with a tag of the question, before untagged
    ones; then by score."""

    def rank(near: Near) -> tuple[bool, bool, bool, float]:
        hit = thresholds.hit(near.score)
        untagged = tags is not None and not near.edit.tags
        return not hit, not near.exact, hit and untagged, -near.score

    return sorted(nears, key=rank)


class Matcher:
    """The edits that can be found now.

    Several threads may use it: whoever changes it, or searches it more than once and needs the same
    edits each time, holds `lock`. No compiled program of a classifier runs under the lock in a
    search.

    Args:
        embedder, scorer: one of them may be None: without the first, every visible edit is scored
            with the question.
        exact_match: an edit is found by its own words too, with score 1.
        memory: the file of the edits, whose keys are cached.
    """

    def __init__(
        self,
        embedder: Embedder | None,
        scorer: Scorer | None,
        exact_match: bool = True,
        memory: Path | None = None,
        index: MakeIndex = BlockedIndex,
    ):
        self.embedder, self.scorer, self.make_index = embedder, scorer, index
        self.exact_match, self.lock = exact_match, RLock()
        self.index = index(embedder.width, embedder.distance) if embedder else None
        self.keys = embedder.cache(memory) if embedder and memory else None
        self.tags = TagTable()
        self.edits: dict[str, Edit] = {}
        self.words: dict[str, dict[str, Edit]] = {}  # by the normal form of their prompts
        self.slots: dict[str, int] = {}
        self.at: list[Edit | None] = []  # the edit of every slot
        self.free: list[int] = []

    def empty(self, memory: Path | None = None) -> Matcher:
        """One of the same classifiers, without edits."""
        return Matcher(self.embedder, self.scorer, self.exact_match, memory, self.make_index)

    def add(self, edits: Iterable[Edit]) -> None:
        """Makes edits findable that are not yet."""
        with self.lock:
            new = {edit.id: edit for edit in edits if edit.id not in self.edits}
            if self.index:
                self.index.reserve(len(self.at) - len(self.free) + len(new))
                for group, keys in self._keyed(list(new.values())):
                    slots = np.full(len(keys), -1)
                    slots[: len(group)] = self._take(group)
                    bits = self.tags.of_edits([edit.tags for edit in group])
                    padding = ((0, len(slots) - len(group)), (0, 0))
                    self.index.put(slots, keys, np.pad(bits, padding))
            self.edits |= new
            for edit in new.values():
                self.words.setdefault(normal(edit.prompt), {})[edit.id] = edit

    def remove(self, ids: Iterable[str]) -> None:
        """Makes edits unfindable; unknown ids are ignored."""
        with self.lock:
            gone = [edit for name in ids if (edit := self.edits.pop(name, None))]
            slots = [self.slots.pop(edit.id) for edit in gone if edit.id in self.slots]
            for slot in slots:
                self.at[slot] = None
            if self.index and slots:
                self.index.drop(np.array(slots))
            self.free += slots
            for edit in gone:
                same = self.words[words := normal(edit.prompt)]
                del same[edit.id]
                if not same:
                    del self.words[words]

    def follow(self, memory: Store, state: State) -> State:
        """Makes findable what a store holds now. Takes and returns the state of the store that was
        followed last."""
        expired, now = memory.expired(), memory.state
        if state[0] == now[0]:
            added, removed = memory.changes_since(state[1])
        else:  # at the beginning, and where an operation that was followed does not stand
            change = difference(self.edits, memory.edits)
            added, removed = [new for _, new in change.added], [old.id for _, old in change.removed]
        self.remove(removed)
        self.add(edit for edit in added if edit.id not in expired)
        self.remove(expired)
        return now

    def nearest(self, questions: Sequence[str], tags: Sequence[Tags]) -> list[list[Near]]:
        """The edits that each question is nearest to, among those that its tags let it see: at most
        PROPOSED, those of the same words first, then the best."""
        return self.rescored(questions, self.search(self.read(questions), questions, tags))

    def read(self, questions: Sequence[str]) -> Vectors:
        """The vectors of questions, for `search`."""
        if not self.embedder:
            return []
        return [self._read(self.embedder, group) for group in chunks(questions)]

    def _read(self, embedder: Embedder, questions: Sequence[str]) -> Float[AnyArray, "b d"]:
        rows = {text: row for row, text in enumerate(dict.fromkeys(questions))}  # each once
        vectors = embedder.questions(list(rows))
        if len(rows) == len(questions):
            return vectors
        padding = (0, bucket(len(questions)) - len(questions))
        return vectors[np.pad([rows[text] for text in questions], padding)]

    def search(
        self, vectors: Vectors, questions: Sequence[str], tags: Sequence[Tags]
    ) -> list[list[Near]]:
        """What `nearest` gives, before the cross-attention classifier scores it again."""
        with self.lock:
            exact = [
                self.same_words(*row) if self.exact_match else []
                for row in zip(questions, tags, strict=True)
            ]
            if not self.index:
                near = [
                    [Near(edit, 0.0) for edit in self.edits.values() if visible(edit.tags, seen)]
                    for seen in tags
                ]
            elif not self.edits:
                near = [list[Near]() for _ in questions]
            else:
                near = self.around(vectors, tags)
        return [merged(first, others) for first, others in zip(exact, near, strict=True)]

    def same_words(self, question: str, tags: Tags) -> list[Near]:
        """Visible edits whose prompt is the question's words, the newest first."""
        known = self.words.get(normal(question), {})
        seen = [edit for edit in reversed(known.values()) if visible(edit.tags, tags)]
        return [Near(edit, 1.0, True) for edit in sorted(seen, key=time_of, reverse=True)]

    def alike(self, edits: Sequence[Edit]) -> Vectors:
        """The keys of edits, for `around`."""
        if not self.embedder:
            return []
        return [self.embedder.edits(group) for group in chunks(edits)]

    def around(self, vectors: Vectors, tags: Sequence[Tags]) -> list[list[Near]]:
        """The stored edits whose keys are nearest to vectors; none without an embedding
        classifier."""
        if not self.index:
            return [[] for _ in tags]
        found: list[list[Near]] = []
        for group, seen in zip(vectors, chunks(tags), strict=True):
            padding = ((0, group.shape[0] - len(seen)), (0, 0))
            bits = np.pad(self.tags.of_queries(seen), padding)
            slots, scores = self.index.search(group, bits, PROPOSED)
            rows: Iterable[tuple[list[int], list[float]]] = zip(
                slots[: len(seen)].tolist(), scores[: len(seen)].tolist(), strict=True
            )
            found += [
                [
                    Near(edit, float(np.exp(score)))
                    for slot, score in zip(*row, strict=True)
                    if score > -np.inf and (edit := self.at[slot])
                ]
                for row in rows
            ]
        return found

    def rescored(
        self, questions: Sequence[str], proposed: Sequence[list[Near]]
    ) -> list[list[Near]]:
        """The same edits with the scores, and in the order, of what scores them again, if anything
        does; those of the same words stay as they are, and a scorer with a limit is not asked about
        others beside them."""
        if not (scorer := self.scorer):
            return [list(nears) for nears in proposed]
        if limit := scorer.limit:
            proposed = [
                [near._replace(verdict="same") for near in nears if near.exact] or nears[:limit]
                for nears in proposed
            ]
        asked = [
            (near, question)
            for question, nears in zip(questions, proposed, strict=True)
            for near in nears
            if not near.exact
        ]
        judged = iter(
            scorer.score(
                [(near.edit, question) for near, question in asked],
                [near.score for near, _ in asked],
            )
        )
        again = [
            [near if near.exact else near._replace(**next(judged)._asdict()) for near in nears]
            for nears in proposed
        ]
        return [
            sorted(nears, key=lambda near: (not near.exact, -near.score))[:PROPOSED]
            for nears in again
        ]

    def scores(self, pairs: Sequence[tuple[Edit, str]]) -> list[float]:
        """How likely each question is in the scope of its edit, which need not be stored."""
        near = self.embedder.scores(pairs) if self.embedder else [1.0] * len(pairs)
        return [one.score for one in self.scorer.score(pairs, near)] if self.scorer else near

    def _keyed(self, edits: Sequence[Edit]) -> Iterator[tuple[Sequence[Edit], Any]]:
        """Edits in groups, each with its keys, whose number is a power of two: those that are on
        the disk, then those that have to be computed."""
        assert self.embedder
        unknown: list[Edit] = []
        for group in chunks(edits, MANY):
            if not self.keys:
                unknown += group
                continue
            found, keys = self.keys.read([edit.id for edit in group])
            known = [edit for edit, there in zip(group, found, strict=True) if there]
            unknown += [edit for edit, there in zip(group, found, strict=True) if not there]
            if known:
                yield known, np.pad(keys[found], ((0, bucket(len(known)) - len(known)), (0, 0)))
        for group in chunks(unknown):
            keys = self.embedder.edits(group)
            if self.keys:
                self.keys.append([edit.id for edit in group], jax.device_get(keys)[: len(group)])
            yield group, keys

    def _take(self, edits: Sequence[Edit]) -> list[int]:
        """Slots for edits: those that became free, then new ones."""
        slots = [self.free.pop() for _ in edits[: len(self.free)]]
        for slot, edit in zip(slots, edits, strict=False):
            self.at[slot] = edit
        fresh = edits[len(slots) :]
        slots += range(len(self.at), len(self.at) + len(fresh))
        self.at += fresh
        self.slots.update(zip((edit.id for edit in edits), slots, strict=True))
        return slots


def time_of(edit: Edit) -> str:
    return edit.time


def merged(exact: list[Near], others: list[Near]) -> list[Near]:
    """Edits of the same words, then the others, each edit once; at most PROPOSED, where embeddings
    have proposed them."""
    known = {near.edit.id for near in exact}
    limit = max(PROPOSED, len(others))
    return [*exact, *(near for near in others if near.edit.id not in known)][:limit]
