"""A network with its tokenizer: what editors, tasks and readers call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from serac_jax.core.batch import Examples, Tokens
from serac_jax.core.errors import UserError
from serac_jax.core.types import Params
from serac_jax.models.cache import Cache, Prefix
from serac_jax.models.convert import flatten, unflatten
from serac_jax.models.decoding import Decoding
from serac_jax.models.layers import unit_length
from serac_jax.models.linear import Intervention
from serac_jax.models.network import Network
from serac_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its tokenizer; parameters are passed in, never held.

    Attributes:
        name: the name under which it was loaded.
        folder: where its files are.
        module: the Flax module.
        network: what its `model_type` declares.
        tokenizer: its tokenizer.
        decoding: how its answers are decoded, where it answers in words.
        output: what it was loaded for (see `pretrained.load`).
        labels: how many outputs its head has; 0: there is no head.
        unit: whether its embeddings get length 1.
        stops: ids at which an answer ends besides those of the network.
        digest: of the weights that it was loaded with, see `weights_digest`.
    """

    name: str
    folder: Path
    module: nn.Module
    network: Network
    tokenizer: Tokenizer
    decoding: Decoding
    output: str
    labels: int
    unit: bool = False
    digest: str = ""
    stops: tuple[int, ...] = ()

    @property
    def decodes(self) -> bool:
        """Whether it answers in words, which are generated, rather than with a class."""
        return self.output == ""

    @property
    def is_causal(self) -> bool:
        """Whether a prompt and its answer are one text to it."""
        return hasattr(self.module, "prefill")

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end an answer."""
        return (*ends_of(self.module.config), *self.stops)

    @property
    def window(self) -> int | None:
        """The most tokens that it reads and says together; None: no number is set, as in T5, whose
        positions are relative."""
        return getattr(self.module.config, "positions", None)

    def stopping_at(self, ids: tuple[int, ...]) -> Model:
        """The same network, whose answers end at these ids too."""
        return replace(self, stops=ids)

    def logits(
        self,
        params: Params,
        examples: Examples,
        key: Array | None = None,
        interventions: Mapping[str, Intervention] = {},
    ) -> Float[Array, "a b v"]:
        """Logits of every label given the input and the labels before it.

        Args:
            key: for dropout; without one there is none.
            interventions: by the path of a layer, changes of its output.

        Returns:
            "n t v"; or "p 1 v", where `examples.at` says which positions are wanted.
        """
        # A classifier has one position, and no argument `at`.
        at: dict[str, Any] = {} if examples.at is None else {"at": examples.at}
        return self.apply(
            params, examples.inputs, examples.labels, key=key, interventions=interventions, **at
        )

    def logits_and_inputs(
        self,
        params: Params,
        examples: Examples,
        layers: Iterable[str],
        interventions: Mapping[str, Intervention] = {},
    ) -> tuple[Float[Array, "n t v"], dict[str, Array]]:
        """Logits of every label, and what went into some layers, by their paths."""
        variables = {"params": params, "interventions": by_layer(params, interventions)}
        logits, state = self.module.apply(
            variables, examples.inputs, examples.labels, mutable=["inputs"]
        )
        captured = flatten(state["inputs"])
        return logits, {layer: captured[f"{layer}/x"][0] for layer in layers}

    def start(
        self,
        params: Params,
        tokens: Tokens,
        room: int,
        interventions: Mapping[str, Intervention] = {},
        prefix: Prefix = (),
    ) -> tuple[Cache, Int[Array, " n"]]:
        """Reads a prompt. Returns a cache, and the token that `decode` takes first: what opens an
        answer in encoder–decoder networks, the prompt's last token in causal ones.

        Args:
            room: how many tokens will be decoded.
            prefix: of causal networks, what every prompt stands behind; see `prefix`.
        """
        read = (tokens, room, prefix) if prefix else (tokens, room)
        return self.apply(params, *read, method="start", interventions=interventions)

    def prefix(
        self,
        params: Params,
        ids: Int[Array, "1 p"],
        interventions: Mapping[str, Intervention] = {},
    ) -> Prefix:
        """What a causal network remembers of a text, for prompts that all begin with it: it is then
        read once, and not with each of them."""
        tokens = Tokens(ids, jnp.ones(ids.shape, bool))
        return self.apply(params, tokens, method="read", interventions=interventions)[1]

    def prefill(
        self,
        params: Params,
        tokens: Tokens,
        room: int,
        interventions: Mapping[str, Intervention] = {},
        prefix: Prefix = (),
    ) -> tuple[Cache, Float[Array, "n v"], Int[Array, " n"]]:
        """As `start`, with the token that it returns in the cache. Returns also the logits of the
        first token of the answer."""
        if self.is_causal:  # that token is read together with the prompt
            read = (tokens, room, prefix)
            return self.apply(params, *read, method="prefill", interventions=interventions)
        cache, first = self.start(params, tokens, room, interventions)
        return *self.decode(params, cache, first, interventions), first

    def decode(
        self,
        params: Params,
        cache: Cache,
        token: Int[Array, " n"],
        interventions: Mapping[str, Intervention] = {},
    ) -> tuple[Cache, Float[Array, "n v"]]:
        """The cache with one more token per row, and the logits of the token after it."""
        return self.apply(params, cache, token, method="decode", interventions=interventions)

    def embed(
        self, params: Params, tokens: Tokens, key: Array | None = None
    ) -> Float[Array, "n d"]:
        """One vector per text, of a network that was loaded with an embedding as its output."""
        vectors = self.apply(params, tokens, key=key)
        return unit_length(vectors) if self.unit else vectors

    def with_dropout(self, rate: float) -> Model:
        """The same network with this rate in every dropout layer."""
        config = replace(self.module.config, dropout=rate)
        return replace(self, module=self.module.clone(config=config))

    def encode(self, params: Params, tokens: Tokens) -> Float[Array, "n l e"]:
        """The last hidden states of the input: of an encoder, or of a classifier's body."""
        return self.apply(params, tokens, method="encode")

    def apply(
        self,
        params: Params,
        *args: Any,
        key: Array | None = None,
        method: str | None = None,
        interventions: Mapping[str, Intervention] = {},
        **named: Any,
    ) -> Any:
        """Calls a method of the module; by default its forward pass."""
        rngs = {} if key is None else {"dropout": key}
        variables = {"params": params}
        if interventions:
            variables["interventions"] = by_layer(params, interventions)
        return self.module.apply(variables, *args, rngs=rngs, method=method, **named)


def ends_of(config: Any) -> tuple[int, ...]:
    """The ids that end an answer of a network, whose configuration has one or several."""
    return (config.eos,) if isinstance(config.eos, int) else tuple(config.eos)


def by_layer(params: Params, interventions: Mapping[str, Intervention]) -> dict[str, Any]:
    """Interventions as a collection of the module.

    Raises:
        UserError: a path is not that of a layer with a kernel.
    """
    kernels = flatten(params)
    for path in interventions:
        if f"{path}/kernel" not in kernels:
            raise UserError(f"{path!r} is not a layer of this network that has a kernel")
    return unflatten({f"{path}/change": change for path, change in interventions.items()})
