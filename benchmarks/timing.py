"""Timing things against each other on a machine that is seldom quiet: by turns, beside a bare
matrix product of that moment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

SIZE = 1536  # of the bare product's square matrices


class Timed(NamedTuple):
    """seconds: the median. of_product: the median over the rounds of seconds × the bare product's
    rate in that round: how many FLOPs the product would have done meanwhile."""

    seconds: float
    of_product: float


def product() -> Callable[[], float]:
    """A function that measures the rate of a bare product in float32, FLOP/s: the better of two."""
    square = jnp.ones((SIZE, SIZE))
    multiply = jax.jit(jnp.matmul)
    jax.block_until_ready(multiply(square, square))

    def rate() -> float:
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            jax.block_until_ready(multiply(square, square))
            seconds.append(time.perf_counter() - begun)
        return 2 * SIZE**3 / min(seconds)

    return rate


def by_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Timed]:
    """Every function `repeats` times, in turn, each time right after a call of the same that does
    not count, as in a loop: behind another library's work a step may take half as long again. The
    product's rate is the median of a round, the same for all its functions, since each leaves it
    another."""
    rate = product()
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        seconds, rates = {}, []
        for name, function in functions.items():
            rates.append(rate())
            function()
            begun = time.perf_counter()
            function()
            seconds[name] = time.perf_counter() - begun
        of_round = statistics.median([*rates, rate()])
        for name, took in seconds.items():
            rounds[name].append((took, took * of_round))
    return {
        name: Timed(*(statistics.median(column) for column in zip(*found, strict=True)))
        for name, found in rounds.items()
    }
