"""Drawing a token at random, as `transformers` does (temperature, top-k, top-p)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from serac_jax.core.errors import UserError


class Sampling(NamedTuple):
    """How a token is drawn.

    Attributes:
        temperature: divides the logits; below 1 the likely tokens become likelier.
        top_k: only so many of the likeliest tokens can be drawn; 0: all.
        top_p: only the likeliest tokens can be drawn that together have this probability (nucleus
            sampling, Holtzman et al. 2020); 1: all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def check(self) -> None:
        """Raises UserError where a value is out of range."""
        if not self.temperature > 0:
            raise UserError(
                f"temperature={self.temperature!r}: expected a number above 0; for the likeliest"
                " token, decode greedily"
            )
        if self.top_k < 0:
            raise UserError(f"top_k={self.top_k!r}: expected 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p!r}: expected a number above 0 and up to 1")


def allowed(logits: Float[Array, "n v"], how: Sampling) -> Float[Array, "n v"]:
    """Logits of the distribution that tokens are drawn from; −inf on tokens that cannot be."""
    logits = logits / how.temperature
    if how.top_k:
        least = jax.lax.top_k(logits, min(how.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if how.top_p < 1:
        order = jnp.flip(logits.argsort(-1), -1)  # likeliest first
        sorted_ = jnp.take_along_axis(logits, order, -1)
        probability = jax.nn.softmax(sorted_)
        before = probability.cumsum(-1) - probability  # that of likelier tokens
        kept = jnp.where(before < how.top_p, sorted_, -jnp.inf)
        logits = jnp.take_along_axis(kept, order.argsort(-1), -1)
    return logits


def draw(key: Array, logits: Float[Array, "n v"], how: Sampling) -> Int[Array, " n"]:
    """One token a row."""
    return jax.random.categorical(key, allowed(logits, how))
