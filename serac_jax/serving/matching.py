"""Which stored edits a question falls under: embeddings propose a few, and a cross-attention
classifier, where there is one, reads these again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from serac_jax.core.batch import Examples, Tokens
from serac_jax.core.sharding import path_name
from serac_jax.core.types import Params
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.scope import Distance, Scope
from serac_jax.edits.records import Edit
from serac_jax.index.blocked import BlockedIndex, Index
from serac_jax.index.key_cache import KeyCache
from serac_jax.index.tags import Tags, TagTable, visible
from serac_jax.models import Model, digest
from serac_jax.text.buckets import bucket, chunks, shard_rows, tokens
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query
from serac_jax.text.tokens import folds_case, prefix_token_count

PROPOSED = 8  # edits that are looked at for every question
MANY = 131_072  # edits whose keys are read from the disk, and written to the device, at a time
MakeIndex = Callable[[int, Distance], Index]  # from the width of keys


class Near(NamedTuple):
    """An edit, and how likely a question is in its scope: in [0, 1]."""

    edit: Edit
    score: float


class Embedder:
    """Vectors of edits and of questions, by an embedding classifier."""

    def __init__(self, model: Model, params: Params, distance: Distance, encoder: Encoder):
        self.model, self.params, self.distance, self.texts = (
            model,
            params,
            distance,
            ScopeTexts(encoder),
        )
        scope = scopes.embedding(model, distance)
        self.embed = jax.jit(lambda params, read: scope.queries(params, only(read)))
        self.width = int(jax.eval_shape(self.embed, params, self.texts.questions([""])).shape[1])

    @cached_property
    def digest(self) -> str:
        """Of all that decides an edit's vector: what the classifier was loaded from, its parameters
        as they are now, and how texts are read."""
        encoder = self.texts.encoder
        how = (
            encoder.text_widths,
            encoder.label_widths,
            bool(encoder.classes),
            folds_case(encoder.base),
        )
        read = [digest(self.model.folder), self.model.output, self.distance.bounded, *how]
        found = hashlib.sha256(repr(read).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            array = np.ascontiguousarray(jax.device_get(leaf))
            found.update(f"{path_name(path)} {array.dtype} {array.shape}".encode())
            found.update(array.view(np.uint8).data)
        return found.hexdigest()

    def cache(self, memory: Path) -> KeyCache:
        """Where the keys of a memory file's edits are kept."""
        return KeyCache(memory.with_name(f"{memory.name}.keys") / self.digest[:16], self.width)

    def edits(self, edits: Sequence[Edit]) -> Float[Array, "b d"]:
        """A row an edit; further rows are padding, up to a power of two."""
        return self.read(self.texts.edits(edits))

    def questions(self, questions: Sequence[str]) -> Float[Array, "b d"]:
        return self.read(self.texts.questions(questions))

    def read(self, read: Tokens) -> Float[Array, "b d"]:
        """Vectors; those that several devices have made are put together, for whoever reads them on
        others."""
        placed = shard_rows(self.params, read)
        vectors = self.embed(self.params, placed)
        return vectors if placed is read else jax.device_get(vectors[: read.ids.shape[0]])


class PairReader:
    """Scores of pairs of an edit and a question, by a cross-attention classifier."""

    def __init__(self, model: Model, params: Params, encoder: Encoder):
        self.params, self.texts = params, ScopeTexts(encoder)
        scope: Scope = scopes.cross_attention(model, prefix_token_count(model.tokenizer))
        self.read = jax.jit(
            lambda params, edits, questions: scope.pairs(
                params, None, only(edits), None, only(questions)
            )
        )

    def __call__(self, pairs: Sequence[tuple[Edit, str]]) -> list[float]:
        found: list[float] = []
        for group in chunks(pairs):
            edits, questions = (
                self.texts.edits([edit for edit, _ in group]),
                self.texts.questions([question for _, question in group]),
            )
            scores = self.read(
                self.params, shard_rows(self.params, edits), shard_rows(self.params, questions)
            )
            found += np.exp(jax.device_get(scores)[: len(group)]).tolist()
        return found


class ScopeTexts:
    """Texts as a scope classifier reads them."""

    def __init__(self, encoder: Encoder):
        self.encoder = encoder
        self.edit_widths = tuple(width + encoder.label_widths[-1] for width in encoder.text_widths)

    def edits(self, edits: Sequence[Edit]) -> Tokens:
        return tokens(
            self.encoder.scope_texts([Query(edit.prompt, edit.answer) for edit in edits], True),
            self.edit_widths,
        )

    def questions(self, questions: Sequence[str]) -> Tokens:
        return tokens(
            self.encoder.scope_texts([Query(question, "") for question in questions], False),
            self.encoder.text_widths,
        )


def only(read: Tokens) -> Examples:
    """Examples of which only the scope classifier's tokens are read."""
    blank: Any = jnp.zeros((read.ids.shape[0], 1), jnp.int32)
    return Examples(read, read, read, blank, blank)


class Matcher:
    """The edits that can be found now. `embedder` or `reader` may be missing: without the first
    every visible edit is read with the question."""

    def __init__(
        self,
        embedder: Embedder | None,
        reader: PairReader | None,
        memory: Path | None = None,
        index: MakeIndex = BlockedIndex,
    ):
        self.embedder, self.reader, self.make_index = embedder, reader, index
        self.index = index(embedder.width, embedder.distance) if embedder else None
        self.keys = embedder.cache(memory) if embedder and memory else None
        self.tags = TagTable()
        self.edits: dict[str, Edit] = {}
        self.slots: dict[str, int] = {}
        self.at: list[Edit | None] = []  # the edit of every slot
        self.free: list[int] = []

    def empty(self, memory: Path | None = None) -> Matcher:
        """One of the same classifiers, without edits, for those of a file, or of none."""
        return Matcher(self.embedder, self.reader, memory, self.make_index)

    def add(self, edits: Iterable[Edit]) -> None:
        """Edits that are not there yet can be found from now on."""
        new = {edit.id: edit for edit in edits if edit.id not in self.edits}
        self.edits |= new
        if self.index:
            self.index.reserve(len(self.at) - len(self.free) + len(new))
            for group, keys in self.embedded(list(new.values())):
                slots = np.full(len(keys), -1)
                slots[: len(group)] = self.take(group)
                bits = self.tags.of_edits([edit.tags for edit in group])
                self.index.put(slots, keys, np.pad(bits, ((0, len(slots) - len(group)), (0, 0))))

    def embedded(self, edits: Sequence[Edit]) -> Iterator[tuple[Sequence[Edit], Any]]:
        """Edits in groups, each with its keys, whose number is a power of two: those that are on
        the disk, then those that have to be made."""
        assert self.embedder
        unknown: list[Edit] = []
        for group in chunks(edits, MANY):
            found, keys = (
                self.keys.read([edit.id for edit in group])
                if self.keys
                else (np.zeros(len(group), bool), np.zeros((0, 0)))
            )
            known = [edit for edit, there in zip(group, found, strict=True) if there]
            unknown += [edit for edit, there in zip(group, found, strict=True) if not there]
            if known:
                yield known, np.pad(keys[found], ((0, bucket(len(known)) - len(known)), (0, 0)))
        for group in chunks(unknown):
            keys = self.embedder.edits(group)
            if self.keys:
                self.keys.append([edit.id for edit in group], jax.device_get(keys)[: len(group)])
            yield group, keys

    def take(self, edits: Sequence[Edit]) -> list[int]:
        """Slots for edits: those that became free, then new ones."""
        slots = [self.free.pop() for _ in edits[: len(self.free)]]
        for slot, edit in zip(slots, edits, strict=False):
            self.at[slot] = edit
        fresh = edits[len(slots) :]
        slots += range(len(self.at), len(self.at) + len(fresh))
        self.at += fresh
        self.slots.update(zip((edit.id for edit in edits), slots, strict=True))
        return slots

    def remove(self, ids: Iterable[str]) -> None:
        """Edits are not found any more; ids that are not there are passed over."""
        known = [name for name in ids if self.edits.pop(name, None)]
        slots = [self.slots.pop(name) for name in known if name in self.slots]
        for slot in slots:
            self.at[slot] = None
        if self.index and slots:
            self.index.drop(np.array(slots))
        self.free += slots

    def nearest(self, questions: Sequence[str], tags: Sequence[Tags]) -> list[list[Near]]:
        """The edits that each question is nearest to, among those that its tags let it see: at most
        PROPOSED, best first."""
        proposed = [
            near
            for group in chunks(list(zip(questions, tags, strict=True)))
            for near in self.proposed(*zip(*group, strict=True))
        ]
        return self.read_again(questions, proposed) if self.reader else proposed

    def proposed(self, questions: Sequence[str], tags: Sequence[Tags]) -> list[list[Near]]:
        if not self.embedder or not self.index:
            return [
                [Near(edit, 0.0) for edit in self.edits.values() if visible(edit.tags, query)]
                for query in tags
            ]
        if not self.edits:
            return [[] for _ in questions]
        rows = {
            question: row for row, question in enumerate(dict.fromkeys(questions))
        }  # each is read once
        vectors = self.embedder.questions(list(rows))
        if len(rows) < len(questions):
            vectors = vectors[
                np.pad(
                    [rows[question] for question in questions],
                    (0, bucket(len(questions)) - len(questions)),
                )
            ]
        return self.around(vectors, tags)

    def alike(self, edits: Sequence[Edit]) -> list[list[Near]]:
        """Stored edits whose keys are nearest to each edit's own key, itself among them where it is
        stored; none without an embedding classifier."""
        if not self.embedder:
            return [[] for _ in edits]
        return [
            near
            for group in chunks(edits)
            for near in self.around(self.embedder.edits(group), [None] * len(group))
        ]

    def around(self, vectors: Float[Array, "b d"], tags: Sequence[Tags]) -> list[list[Near]]:
        """The edits whose keys lie nearest to vectors; rows of `vectors` beyond `tags` are
        padding."""
        assert self.index
        seen = np.pad(self.tags.of_queries(tags), ((0, vectors.shape[0] - len(tags)), (0, 0)))
        slots, scores = self.index.search(vectors, seen, PROPOSED)
        rows = zip(slots[: len(tags)].tolist(), scores[: len(tags)].tolist(), strict=True)
        return [
            [
                Near(edit, float(np.exp(score)))
                for slot, score in zip(*row, strict=True)
                if score > -np.inf and (edit := self.at[slot])
            ]
            for row in rows
        ]

    def read_again(
        self, questions: Sequence[str], proposed: Sequence[Sequence[Near]]
    ) -> list[list[Near]]:
        """The same edits in the order, and with the scores, of the cross-attention classifier."""
        assert self.reader
        pairs = [
            (near.edit, question)
            for question, nears in zip(questions, proposed, strict=True)
            for near in nears
        ]
        scores = iter(self.reader(pairs))
        again = [[near._replace(score=next(scores)) for near in nears] for nears in proposed]
        return [sorted(nears, key=lambda near: -near.score)[:PROPOSED] for nears in again]

    def scores(self, pairs: Sequence[tuple[Edit, str]]) -> list[float]:
        """How likely each question is in the scope of the edit beside it, which need not be
        stored."""
        if self.reader:
            return self.reader(pairs)
        assert self.embedder
        found: list[float] = []
        for group in chunks(pairs):
            edits, questions = (
                {edit.id: edit for edit, _ in group},
                dict.fromkeys(question for _, question in group),
            )  # each is read once
            of_edit, of_question = (
                {name: row for row, name in enumerate(names)} for names in (edits, questions)
            )
            rows = np.zeros((2, bucket(len(group))), np.int32)
            rows[:, : len(group)] = np.array(
                [(of_edit[edit.id], of_question[question]) for edit, question in group]
            ).T
            vectors = (
                self.embedder.edits(list(edits.values())),
                self.embedder.questions(list(questions)),
            )
            found += np.exp(
                jax.device_get(compared(*vectors, *rows, self.embedder.distance))[: len(group)]
            ).tolist()
        return found


@partial(jax.jit, static_argnums=4)
def compared(
    edits: Float[Array, "b d"],
    questions: Float[Array, "q d"],
    row: Int[Array, " n"],
    column: Int[Array, " n"],
    distance: Distance,
) -> Array:
    """Log-similarities of pairs, "n"."""
    return scopes.log_similarity(edits[row], questions[column], distance)
