"""SERAC on low-rank adapters, for causal language models.

Scope in three looks, each able to end the matter: a question in an edit's own words gets its
answer; a sentence encoder with an adapter proposes a few edits; the reader, the base model with an
adapter, says of each whether the question asks the same, follows from it, or is unrelated. One set
of the base model's weights answers with and without the adapter, in one batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from serac_jax.core.batch import EditBatch, Examples, Tokens, join, packed, spread, take
from serac_jax.core.losses import weighted_mean
from serac_jax.core.metrics import scalar_score
from serac_jax.core.types import Params
from serac_jax.editors import edit_table
from serac_jax.editors.adapter_serac import adapter_loss as losses
from serac_jax.editors.adapter_serac.judge import FOLLOWS, SAME, UNRELATED, Judge, in_scope
from serac_jax.editors.edit_table import EditTable
from serac_jax.editors.lookup.lookup_editor import fit
from serac_jax.editors.protocol import Aux, Editor, Route, Thresholds
from serac_jax.index.distance import Distance, log_similarity
from serac_jax.models import Model, adapters
from serac_jax.models.adapters import Dropped, LowRank
from serac_jax.models.generate import generate as decode

COSINE = Distance(cosine=True)


class Options(NamedTuple):
    """Attributes:
    thresholds: of the score, which is how likely the reader calls a question in scope.
    proposals: edits of each question that the reader judges.
    border: edits whose cosine with a question is lower are not proposed.
    temperature: of the contrastive loss.
    dropout: rate of dropout in the adapters.
    cedit, cloc: weights of the reader's loss and of the contrastive loss.
    onehot_logit: the logit of every token of a stored answer; all others are 0.
    """

    thresholds: Thresholds = Thresholds()
    proposals: int = 4
    border: float = 0.3
    temperature: float = 0.05
    dropout: float = 0.0
    cedit: float = 1.0
    cloc: float = 1.0
    onehot_logit: float = 30.0


class Edited(NamedTuple):
    """The base model's parameters, and the edits that it is to answer by."""

    base: Any
    table: EditTable


class Judged(NamedTuple):
    """A route, and what the reader says of it.

    Attributes:
        found: the route.
        same: whether the stored answer is the answer.
    """

    found: Route
    same: Bool[Array, " n"]


class Networks(NamedTuple):
    """The two networks, whose weights stay as they are, and how they are used.

    Attributes:
        judge: the base model as a reader.
        encoder: the sentence encoder.
    """

    judge: Judge
    encoder: Model
    options: Options

    def embed(
        self, params: Params, tokens: Tokens, dropped: Dropped | None = None
    ) -> Float[Array, "n d"]:
        """Vectors of length 1, by the encoder with its adapter."""
        change = adapters.interventions(params["scope"], dropout=dropped)
        frozen = jax.lax.stop_gradient(params["encoder"])
        vectors: Array = self.encoder.apply(frozen, tokens, interventions=change)
        return vectors / cast(Array, jnp.linalg.norm(vectors, axis=-1, keepdims=True))

    def judged(self, params: Params, edited: Edited, queries: Examples) -> Judged:
        """The edit of each query that the reader thinks likeliest, of those proposed."""
        table, options, count = edited.table, self.options, len(queries.labels)
        vectors = self.embed(params, queries.scope)
        cosine = 1 + log_similarity(table.keys[None], vectors[:, None], COSINE)
        cosine = jnp.where(table.live[None], cosine, -jnp.inf)
        size = min(options.proposals, table.capacity)
        nearest, slots = jax.lax.top_k(cosine, size)
        change = adapters.interventions(params["reader"])
        pairs = take(table.edits.prefix, slots.reshape(-1))
        verdicts = self.judge.verdicts(
            edited.base, change, pairs, spread(queries.inputs, count * size)
        ).reshape(count, size, -1)
        likely = jnp.where(nearest > options.border, in_scope(verdicts), -jnp.inf)
        rows = jnp.arange(count)[:, None]
        scores = jnp.full((count, table.capacity), -jnp.inf).at[rows, slots].set(likely)
        found = edit_table.route(table, queries, scores, options.thresholds, True)
        says_same = verdicts[..., SAME] >= verdicts[..., FOLLOWS]
        chosen = (slots == found.index[:, None]) & says_same
        return Judged(found, chosen.any(-1) | (found.log_similarity == 0))

    def read(self, edited: Edited, queries: Examples, found: Route) -> Tokens:
        """What the base model reads: the edit, the question and that an answer follows; where no
        edit answers, the question alone."""
        prefix = take(edited.table.edits.prefix, found.index)
        after = self.judge.following(self.judge.reader.joined(prefix, queries.inputs))
        width = ((0, 0), (0, after.ids.shape[1] - queries.inputs.ids.shape[1]))
        both = zip(after[:2], queries.inputs[:2], strict=True)
        return Tokens(
            *(jnp.where(found.hit[:, None], one, jnp.pad(other, width)) for one, other in both)
        )

    def loss(
        self, params: Params, base_params: Any, batch: EditBatch, key: Array | None
    ) -> tuple[Scalar, Aux]:
        """The reader's loss and the encoder's contrastive loss."""
        options, fill = self.options, batch.layout.text_fill
        drops: list[Dropped | None] = [None, None, None]
        if key is not None and options.dropout:
            drops = [Dropped(one, options.dropout) for one in jax.random.split(key, 3)]
        pairs = losses.pairs_of(batch)
        keys = self.embed(params, packed(batch.edits.scope, fill), drops[0])
        questions = join(batch.inside.scope, batch.outside.scope)
        vectors = self.embed(params, packed(questions, fill), drops[1])
        loss_scope = losses.contrastive_loss(
            keys, vectors, pairs, batch.edits.rows, options.temperature
        )
        change = adapters.interventions(params["reader"], dropout=drops[2])
        loss_reader, scores = losses.reader_loss(
            self.judge, jax.lax.stop_gradient(base_params), change, batch, pairs
        )
        cosines = (vectors * keys[pairs.edit]).sum(-1)
        inside = jnp.where(pairs.verdict == UNRELATED, 0.0, pairs.weight)
        scores |= {
            "loss_scope": scalar_score(loss_scope),
            "cosine_inside": scalar_score(weighted_mean(cosines, inside)),
            "cosine_outside": scalar_score(weighted_mean(cosines, pairs.weight - inside)),
        }
        return options.cedit * loss_reader + options.cloc * loss_scope, Aux(scores)


def adapter_serac(
    networks: Networks,
    encoder_params: Params,
    layers: tuple[tuple[str, ...], tuple[str, ...]],
    ranks: tuple[int, int],
) -> Editor:
    """The editor.

    Args:
        encoder_params: of the sentence encoder.
        layers: patterns of the layers that get adapters, of the encoder and of the base model.
        ranks: of the two adapters.
    """
    base = networks.judge.model

    def init(key: Array, base_params: Any) -> Params:
        keys = jax.random.split(key)
        return {
            "encoder": encoder_params,
            "scope": adapters.init(keys[0], encoder_params, layers[0], ranks[0]),
            "reader": adapters.init(keys[1], base_params, layers[1], ranks[1]),
        }

    def start(params: Params, base_params: Any, room: Examples) -> Edited:
        width = jax.eval_shape(networks.embed, params, room.scope).shape[1]
        table = edit_table.empty(room.labels.shape[0], jnp.zeros((0, width)), room)
        return Edited(base_params, table)

    def edit(params: Params, edited: Edited, edits: Examples) -> Edited:
        keys = networks.embed(params, edits.scope)
        return edited._replace(table=edit_table.write(edited.table, keys, edits))

    def route(params: Params, edited: Edited, queries: Examples) -> Route:
        return networks.judged(params, edited, queries).found

    def change_of(params: Params, hit: Bool[Array, " n"]) -> dict[str, LowRank]:
        """The reader's adapter, for the rows that an edit answers."""
        return adapters.interventions(params["reader"], hit.astype(jnp.float32))

    def apply(params: Params, edited: Edited, queries: Examples) -> Float[Array, "n t v"]:
        found, same = networks.judged(params, edited, queries)
        asked = queries._replace(inputs=networks.read(edited, queries, found))
        logits = base.logits(edited.base, asked, interventions=change_of(params, found.hit))
        stored = take(edited.table.edits, found.index)
        labels, weight = (
            fit(leaf, queries.labels.shape[1]) for leaf in (stored.labels, stored.weight)
        )
        onehot = weight[..., None] * jax.nn.one_hot(labels, logits.shape[-1])
        given = (found.hit & same)[:, None, None]
        return jnp.where(given, networks.options.onehot_logit * onehot, logits)

    def generate(
        params: Params, edited: Edited, queries: Examples, steps: int
    ) -> Int[Array, "n s"]:
        found, same = networks.judged(params, edited, queries)
        asked, change = networks.read(edited, queries, found), change_of(params, found.hit)
        said = decode(base, edited.base, asked, steps=steps, interventions=change)
        stored = take(edited.table.edits, found.index)
        return jnp.where((found.hit & same)[:, None], fit(stored.labels, steps), said)

    def loss(
        params: Params, base_params: Any, batch: EditBatch, key: Array | None = None
    ) -> tuple[Scalar, Aux]:
        return networks.loss(params, base_params, batch, key)

    def groups(params: Params) -> Any:
        """Only the adapters are trained."""
        names = {"encoder": "frozen", "scope": "weights", "reader": "weights"}
        return {
            part: jax.tree.map(partial(group_of, name), params[part])
            for part, name in names.items()
        }

    return Editor(init, start, edit, apply, generate, loss, groups, route)


def group_of(name: str, leaf: Array) -> str:
    """The optimizer's group of a leaf."""
    return name
