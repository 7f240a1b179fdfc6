"""A network with its tokenizer: what editors, tasks and readers call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from serac_jax.core.batch import Examples, Tokens
from serac_jax.core.types import Params
from serac_jax.models.decoding import Decoding
from serac_jax.models.network import Network
from serac_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its tokenizer; parameters are passed in, never held.

    Args:
        decoding: how its answers are decoded, where it answers in words.
        output: what it was loaded for (see `pretrained.load`).
        labels: how many outputs its head has; 0: there is no head.
    """

    name: str
    folder: Path
    module: nn.Module
    network: Network
    tokenizer: Tokenizer
    decoding: Decoding
    output: str
    labels: int

    @property
    def decodes(self) -> bool:
        """Whether it answers in words, which are generated, rather than with a class."""
        return self.output == ""

    def logits(
        self, params: Params, examples: Examples, key: Array | None = None
    ) -> Float[Array, "a b v"]:
        """Logits of every label given the input and the labels before it.

        Args:
            key: for dropout; without one there is none.

        Returns:
            "n t v"; or "p 1 v", where `examples.at` says which positions are wanted.
        """
        # A classifier has one position, and no argument `at`.
        at: dict[str, Any] = {} if examples.at is None else {"at": examples.at}
        return self.apply(params, examples.inputs, examples.labels, key=key, **at)

    def embed(
        self, params: Params, tokens: Tokens, key: Array | None = None
    ) -> Float[Array, "n d"]:
        """One vector per text, of a network that was loaded with an embedding as its output."""
        return self.apply(params, tokens, key=key)

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
        **named: Any,
    ) -> Any:
        """Calls a method of the module; by default its forward pass."""
        rngs = {} if key is None else {"dropout": key}
        return self.module.apply({"params": params}, *args, rngs=rngs, method=method, **named)
