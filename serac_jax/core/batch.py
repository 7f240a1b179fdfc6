"""What an editor reads: tokens, labelled examples, and batches of edits with queries.

Shape letters, used throughout: n rows, l input positions, t label positions, k edits, b in-scope
queries, o out-of-scope queries, c slots of an EditTable, d width, v vocabulary, s similarities.

Padding is a weight: a padded label position, and every position of a padded row, has weight 0 and
adds nothing to any loss or score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.arrays import AnyArray

Rows = TypeVar("Rows")


class Tokens(NamedTuple):
    """Token ids padded on the right.

    Attributes:
        ids: token ids.
        mask: true on real tokens.
        real: the positions of real tokens, as numbers below n·l, filled up with n·l; networks
            compute no others. None: all are computed.
    """

    ids: Int[Array, "n l"]
    mask: Bool[Array, "n l"]
    real: Int[Array, " p"] | None = None


class Examples(NamedTuple):
    """Queries or edits, tokenised once for every reader.

    Attributes:
        inputs: the question in the base model's vocabulary, special tokens included.
        scope: what the scope classifier reads: the question, or for an edit "question [SEP] answer
            [SEP]".
        prefix: for an edit, "question answer" without the closing special tokens: the context that
            the counterfactual model reads before a query. Width 0 for a query that is not an edit.
        labels: the answer's tokens, end of sequence included.
        weight: 1 on a real label token, 0 on padding.
        at: the label positions whose logits are wanted, as numbers below n·t, filled up with n·t.
            A decoder computes no others, so all earlier positions of a row must be among them.
            None: all.
        words: a 64-bit fingerprint of the question, equal for equal wording (`text.fingerprint`);
            zeros for padding. None: unknown.
    """

    inputs: Tokens
    scope: Tokens
    prefix: Tokens
    labels: Int[Array, "n t"]
    weight: Float[Array, "n t"]
    at: Int[Array, " p"] | None = None
    words: Int[Array, "n 2"] | None = None

    @property
    def rows(self) -> Float[AnyArray, " n"]:
        """1 for a real row, 0 for padding."""
        return (self.weight.max(-1) > 0).astype(jnp.float32)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Layout:
    """What is known of a batch at compile time, besides the shapes of its arrays.

    A fill is the largest share of positions with real tokens; networks compute only so many in
    training. None: all are computed.

    Attributes:
        context: the width of a row in which an edit is followed by a query. Both end in padding, so
            the longest such row is shorter than both arrays together. None: as wide as both.
        alike: this many consecutive in-scope queries ask the same question about one edit, with
            different answers.
        text_fill: of texts that are read alone.
        context_fill: of an edit and a query that are read together.
        label_fill: of the labels of in-scope queries.
    """

    context: int | None = None
    alike: int = 1
    text_fill: float | None = None
    context_fill: float | None = None
    label_fill: float | None = None


NOTHING_KNOWN = Layout()


class EditBatch(NamedTuple):
    """Edits that are applied at once, and queries in and out of their scope.

    Attributes:
        edits: the edits.
        inside: in-scope queries.
        edit_of: the edit that each in-scope query follows from.
        wanted: false for answers that the edit should make less likely (sentiment editing).
        inside_kind: the kind of each in-scope query, as its position in the task's list of kinds.
        outside: out-of-scope queries.
        outside_of: the edit that each is paired with, as a negative of the scope loss.
        outside_kind: the kind of each out-of-scope query.
        layout: what is known of the batch besides its arrays.
    """

    edits: Examples
    inside: Examples
    edit_of: Int[Array, " b"]
    wanted: Bool[Array, " b"]
    inside_kind: Int[Array, " b"]
    outside: Examples
    outside_of: Int[Array, " o"]
    outside_kind: Int[Array, " o"]
    layout: Layout = NOTHING_KNOWN

    @property
    def asked(self) -> Examples:
        """The in-scope queries, each question once, fewer rows of what is read than of answers; and
        logits of labelled positions only."""

        def one_each(leaf: AnyArray) -> AnyArray:
            return leaf[:: self.layout.alike]

        read = jax.tree.map(one_each, self.inside)
        return self.packed(read)._replace(
            labels=self.inside.labels, weight=self.inside.weight, at=self.at
        )

    def packed(self, queries: Examples) -> Examples:
        """Some of the batch, for training: networks compute only real tokens of what the base model
        reads."""
        return queries._replace(inputs=packed(queries.inputs, self.layout.text_fill))

    @property
    def at(self) -> Int[Array, " p"] | None:
        """The labelled positions in scope, as `Examples.at` says."""
        return places(self.inside.weight > 0, self.layout.label_fill)

    @property
    def answers(self) -> tuple[Examples, Bool[Array, " a"]]:
        """What the logits of `asked` are compared with, and whether that is wanted: rows of labels,
        or each labelled position as a row of its own."""
        if (at := self.at) is None:
            return self.inside, self.wanted
        labels, weight = (
            jnp.take(leaf.reshape(-1), at, mode="fill", fill_value=0)[:, None]
            for leaf in (self.inside.labels, self.inside.weight)
        )
        return self.inside._replace(labels=labels, weight=weight), jnp.take(
            self.wanted, self.row_of(at), mode="clip"
        )

    def whole(self, right: Float[Array, " a"]) -> Float[Array, " b"]:
        """From a score of each row of `answers`, 0 or 1, that of each query in scope: 1 where all
        of its answer is right."""
        return (
            right
            if (at := self.at) is None
            else jnp.ones(self.wanted.shape).at[self.row_of(at)].min(right, mode="drop")
        )

    def row_of(self, at: Int[Array, " p"]) -> Int[Array, " p"]:
        return at // self.inside.labels.shape[1]


def splice(prefix: Tokens, tokens: Tokens, lead: int, width: int | None = None) -> Tokens:
    """The row `prefix` + `tokens[lead:]`, still padded on the right; shape "n p+l-lead", or cut
    behind `width` positions.

    `lead` counts the special tokens that open every text of the tokenizer (1 for BERT's [CLS], 0
    for T5): the prefix already has them. Tokenizers whose pieces never cross white space make this
    equal to tokenising the joined text."""
    before = prefix.mask.sum(-1, keepdims=True)
    full = prefix.ids.shape[1] + tokens.ids.shape[1] - lead
    position = jnp.arange(full if width is None else min(width, full))[None, :]
    both = jnp.concatenate([prefix.ids, tokens.ids], -1)
    valid = jnp.concatenate([prefix.mask, tokens.mask], -1)
    source = jnp.where(position < before, position, position - before + prefix.ids.shape[1] + lead)
    inside = source < both.shape[1]
    source = jnp.minimum(source, both.shape[1] - 1)
    mask = jnp.take_along_axis(valid, source, -1) & inside
    return Tokens(jnp.where(mask, jnp.take_along_axis(both, source, -1), 0), mask)


def join(first: Tokens, second: Tokens) -> Tokens:
    """The rows of both, as wide as the wider."""
    width = max(first.ids.shape[1], second.ids.shape[1])
    return jax.tree.map(
        lambda *leaves: jnp.concatenate(
            [jnp.pad(leaf, ((0, 0), (0, width - leaf.shape[1]))) for leaf in leaves]
        ),
        first,
        second,
    )


def spread(rows: Rows, count: int) -> Rows:
    """`count` rows of every array: each row as often, one after the other. Questions that several
    answers share are read once."""

    def each(leaf: AnyArray) -> AnyArray:
        times = -(-count // leaf.shape[0])
        return leaf if times == 1 else jnp.repeat(leaf, times, 0)[:count]

    return jax.tree.map(each, rows)


def take(rows: Rows, index: Int[Array, " m"] | Int[np.ndarray, " m"]) -> Rows:
    """The given rows of every array in a tree whose leaves share their first axis."""

    def taken(leaf: Any) -> Any:
        return leaf[index]

    return jax.tree.map(taken, rows)


def packed(tokens: Tokens, fill: float | None) -> Tokens:
    """The same tokens, of which networks compute only real ones; at most the share `fill` is."""
    return tokens._replace(real=places(tokens.mask, fill))


def places(mask: Bool[AnyArray, "n l"], fill: float | None) -> Int[Array, " p"] | None:
    """Where a mask is true, as numbers below n·l, and n·l itself where that is in fewer places than
    the share `fill` of all. None: nobody knows."""
    return (
        None
        if fill is None
        else jnp.nonzero(mask.reshape(-1), size=room(mask.size, fill), fill_value=mask.size)[0]
    )


def room(positions: int, fill: float) -> int:
    """How many of so many positions are computed: in eights, by which copies are faster."""
    return min(8 * math.ceil(fill * positions / 8 - 1e-6), positions)


def stack(batches: Sequence[Rows]) -> Rows:
    """Batches of as many rows, with a new first axis, each array padded to the widest of its
    kind."""

    def join(*leaves: Any) -> Any:
        width = max(leaf.shape[-1] for leaf in leaves)
        return np.stack(
            [
                np.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, width - leaf.shape[-1])])
                for leaf in leaves
            ]
        )

    return jax.tree.map(join, *batches)
