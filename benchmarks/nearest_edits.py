"""The sides of `benchmarks.memory`: ways of finding the edits nearest to a query."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.edits import records
from serac_jax.index.blocked import BlockedIndex
from serac_jax.index.distance import SQUARED, log_similarity
from serac_jax.serving import loading
from serac_jax.serving.matching import MANY
from serac_jax.text.buckets import bucket, chunks

try:
    import faiss  # pyright: ignore[reportMissingImports]
except ImportError:
    faiss = None

WIDTH, NEAREST = 128, 8
EMBEDDED = 10_000  # edits that are embedded again at most
OURS = {"ours": "float32", "ours, bfloat16": "bfloat16", "ours, int8": "int8"}
Search = Callable[[np.ndarray], np.ndarray]  # from queries, "n d", to the nearest edits, "n k"


class Side(NamedTuple):
    """size: bytes an edit. scale: what times are multiplied by, where not all edits are looked at.
    slow: it takes part as long as its own time lasts."""

    name: str
    search: Search
    build: float
    size: float
    scale: float = 1.0
    slow: bool = False


def ours(keys: np.ndarray, kind: str) -> tuple[Search, float]:
    index = BlockedIndex(WIDTH, SQUARED, kind)
    for start in range(0, len(keys), MANY):
        rows = keys[start : start + MANY]
        padded = np.pad(rows, ((0, bucket(len(rows)) - len(rows)), (0, 0)))
        slots = np.where(
            np.arange(len(padded)) < len(rows), np.arange(start, start + len(padded)), -1
        )
        index.put(slots, padded, np.ones((len(padded), 1), np.uint32))  # pyright: ignore[reportArgumentType]
    jax.block_until_ready(index.stored)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(index.stored)) + (
        0 if index.exact is None else index.exact.nbytes
    )

    def search(queries: Any) -> np.ndarray:
        return index.search(queries, np.ones((len(queries), 1), np.uint32), NEAREST)[0]

    return search, held / len(keys)


def faiss_flat(keys: np.ndarray) -> tuple[Search, float]:
    assert faiss
    index = faiss.IndexFlatL2(WIDTH)
    index.add(keys)
    return lambda queries: index.search(queries, NEAREST)[1], index.sa_code_size()


def faiss_hnsw(keys: np.ndarray) -> tuple[Search, float]:
    assert faiss
    index = faiss.IndexHNSWFlat(WIDTH, 32)
    index.hnsw.efConstruction, index.hnsw.efSearch = 40, 64
    index.add(keys)
    return lambda queries: index.search(queries, NEAREST)[1], len(
        faiss.serialize_index(index)
    ) / len(keys)


class Again:
    """Embeds edits for every batch of queries, and compares."""

    def __init__(self, count: int):
        embedder = loading.load("mini", base=str).matcher.embedder
        assert embedder
        self.embedder, self.count = embedder, count
        edits = [
            records.make(f"Who wrote the book with the number {number}?", f"Author {number}")
            for number in range(count)
        ]
        self.tokens = [embedder.texts.edits(group) for group in chunks(edits)]
        for tokens in (self.tokens[0], self.tokens[-1]):
            embedder.embed(embedder.params, tokens)  # compiles
        self.nearest = jax.jit(
            lambda keys, queries: jax.lax.top_k(
                log_similarity(keys[None], queries[:, None], SQUARED), NEAREST
            )[1]
        )

    def search(self, queries: np.ndarray) -> np.ndarray:
        keys = jnp.concatenate(
            [self.embedder.embed(self.embedder.params, tokens) for tokens in self.tokens]
        )
        return np.asarray(self.nearest(keys[: self.count], queries))

    @property
    def size(self) -> float:
        """Bytes of tokens and mask."""
        return (
            sum(np.asarray(leaf).nbytes for tokens in self.tokens for leaf in tokens) / self.count
        )


def built(name: str, make: Callable[[], tuple[Search, float]], keys: np.ndarray) -> Side:
    begun = time.perf_counter()
    search, size = make()
    return Side(name, search, time.perf_counter() - begun, size)


def sides(keys: np.ndarray, again: Again, most_hnsw: int) -> list[Side]:
    found = [built(name, partial(ours, keys, kind), keys) for name, kind in OURS.items()]
    if faiss:
        found.append(built("faiss flat", partial(faiss_flat, keys), keys))
        if len(keys) <= most_hnsw:
            found.append(built("faiss HNSW", partial(faiss_hnsw, keys), keys))
    return [
        *found,
        Side("embedding again", again.search, 0.0, again.size, len(keys) / again.count, slow=True),
    ]
