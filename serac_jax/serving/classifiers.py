"""Scope classifiers as the service calls them: texts in, vectors or scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from serac_jax.core.arrays import AnyArray
from serac_jax.core.batch import Examples, Tokens
from serac_jax.core.sharding import path_name
from serac_jax.core.types import Params
from serac_jax.editors.serac.scope import Scope
from serac_jax.edits.records import Edit
from serac_jax.index.distance import Distance, log_similarity
from serac_jax.index.key_cache import KeyCache
from serac_jax.models import Model, digest
from serac_jax.runtime import program
from serac_jax.text.buckets import bucket, chunks, shard_rows, tokens
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query
from serac_jax.text.tokens import folds_case


class Embedder:
    """Vectors of edits and of questions, by an embedding classifier."""

    def __init__(
        self, scope: Scope, model: Model, params: Params, distance: Distance, encoder: Encoder
    ):
        self.model, self.params, self.distance = model, params, distance
        self.texts = ScopeTexts(encoder)

        def embed(params: Params, read: Tokens) -> Float[Array, "b d"]:
            return scope.queries(params, only(read))

        self.embed = jax.jit(embed)
        self.width = int(jax.eval_shape(self.embed, params, self.texts.questions([""])).shape[1])

    @cached_property
    def digest(self) -> str:
        """A hash of all that decides an edit's vector: what the classifier was loaded from, its
        parameters as they are now, and how texts are read."""
        encoder = self.texts.encoder
        how = (
            encoder.question_widths,
            encoder.answer_widths,
            bool(encoder.classes),
            folds_case(encoder.base),
        )
        read = [digest(self.model.folder), self.model.output, self.distance.bounded, *how]
        read += ["unit"] if self.model.unit else []
        found = hashlib.sha256(repr(read).encode())
        leaves = cast(
            list[tuple[tuple[Any, ...], Any]], jax.tree_util.tree_leaves_with_path(self.params)
        )
        for path, leaf in leaves:
            array = np.ascontiguousarray(jax.device_get(leaf))
            found.update(f"{path_name(path)} {array.dtype} {array.shape}".encode())
            found.update(array.view(np.uint8).data)
        return found.hexdigest()

    def cache(self, memory: Path) -> KeyCache:
        """Where the keys of a memory file's edits are kept: not beside it, where reading it would
        write."""
        name = f"{memory.name[:100]}-{hashlib.sha256(bytes(memory.resolve())).hexdigest()[:16]}"
        folder = program.default_cache() / "keys" / name
        return KeyCache(folder / self.digest[:16], self.width)

    def edits(self, edits: Sequence[Edit]) -> Float[AnyArray, "b d"]:
        """One row for each edit; further rows are padding, up to a power of two."""
        return self.read(self.texts.edits(edits))

    def questions(self, questions: Sequence[str]) -> Float[AnyArray, "b d"]:
        return self.read(self.texts.questions(questions))

    def read(self, read: Tokens) -> Float[AnyArray, "b d"]:
        """Vectors; those that several devices have computed are gathered on the host."""
        placed = shard_rows(self.params, read)
        vectors = cast(Array, self.embed(self.params, placed))
        return vectors if placed is read else jax.device_get(vectors[: read.ids.shape[0]])

    def scores(self, pairs: Sequence[tuple[Edit, str]]) -> list[float]:
        """How likely each question is in the scope of its edit."""
        found: list[float] = []
        for group in chunks(pairs):
            edits = {edit.id: edit for edit, _ in group}  # each is read once
            questions = dict.fromkeys(question for _, question in group)
            of_edit = {name: row for row, name in enumerate(edits)}
            of_question = {question: row for row, question in enumerate(questions)}
            rows = np.zeros((2, bucket(len(group))), np.int32)
            rows[:, : len(group)] = np.array(
                [(of_edit[edit.id], of_question[question]) for edit, question in group]
            ).T
            vectors = self.edits(list(edits.values())), self.questions(list(questions))
            similarities = jax.device_get(compared(*vectors, *rows, self.distance))
            found += np.exp(similarities[: len(group)]).tolist()
        return found


class Judgement(NamedTuple):
    """How likely a question is in an edit's scope, and the verdict of a reader that judges.

    verdict: "same", "follows" or "unrelated"; "" where no reader was asked.
    """

    score: float
    verdict: str = ""


class Scorer(Protocol):
    """Scores again the edits that embeddings propose.

    Attributes:
        limit: how many of the edits nearest to a question are scored; None: all that are proposed.
    """

    limit: int | None

    def score(
        self, pairs: Sequence[tuple[Edit, str]], similarities: Sequence[float]
    ) -> list[Judgement]:
        """Scores pairs of an edit and a question, given what embeddings say of each."""
        ...


class PairScorer:
    """Scores of pairs of an edit and a question, by a cross-attention classifier."""

    limit: int | None = None

    def __init__(self, scope: Scope, params: Params, encoder: Encoder):
        self.params, self.texts = params, ScopeTexts(encoder)

        def read(params: Params, edits: Tokens, questions: Tokens) -> Float[Array, " n"]:
            return scope.pairs(params, None, only(edits), None, only(questions))

        self.read = jax.jit(read)

    def score(
        self, pairs: Sequence[tuple[Edit, str]], similarities: Sequence[float]
    ) -> list[Judgement]:
        found: list[Judgement] = []
        for group in chunks(pairs):
            edits, questions = (
                self.texts.edits([edit for edit, _ in group]),
                self.texts.questions([question for _, question in group]),
            )
            read = (shard_rows(self.params, tokens) for tokens in (edits, questions))
            scores = cast(np.ndarray, jax.device_get(self.read(self.params, *read)))
            found += map(Judgement, np.exp(scores[: len(group)]).tolist())
        return found


class ScopeTexts:
    """Texts as a scope classifier reads them."""

    def __init__(self, encoder: Encoder):
        self.encoder = encoder
        self.edit_widths = tuple(
            width + encoder.answer_widths[-1] for width in encoder.question_widths
        )

    def edits(self, edits: Sequence[Edit]) -> Tokens:
        return tokens(
            self.encoder.scope_texts([Query(edit.prompt, edit.answer) for edit in edits], True),
            self.edit_widths,
        )

    def questions(self, questions: Sequence[str]) -> Tokens:
        return tokens(
            self.encoder.scope_texts([Query(question, "") for question in questions], False),
            self.encoder.question_widths,
        )


def only(read: Tokens) -> Examples:
    """Examples of which only the scope classifier's tokens are read."""
    blank: Any = jnp.zeros((read.ids.shape[0], 1), jnp.int32)
    return Examples(read, read, read, blank, blank)


@partial(jax.jit, static_argnums=4)
def compared(
    edits: Float[Array, "b d"],
    questions: Float[Array, "q d"],
    row: Int[Array, " n"],
    column: Int[Array, " n"],
    distance: Distance,
) -> Array:
    """Log-similarities of pairs, "n"."""
    return log_similarity(edits[row], questions[column], distance)
