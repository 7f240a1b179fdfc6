"""Hard negatives: questions out of scope that are near an edit in a sentence embedding space.

By cosine similarity, the nearest questions of all are left out as too near to be negatives; of the
next ones, nearer ones are drawn more often (Mitchell et al. 2022, section 4.1). Embeddings and
neighbours are computed once and kept on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from serac_jax import models
from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.fields import COUNT, NATURAL, POSITIVE, SHARE, Field, Fields
from serac_jax.models import hub
from serac_jax.text.tokens import cut, pad, smallest

# Texts are padded to the smallest that fits, and cut at the last; one compilation each.
WIDTHS = (16, 32, 64, 128, 256)
FIELDS: Fields = {  # of the config section "data"
    "hard_negatives": Field(
        "", "sentence embedding model that finds hard negatives; empty: the rows' own, if any"
    ),
    "hard_negative_neighbors": Field(
        100, "how many of the nearest questions are considered", COUNT
    ),
    "hard_negative_exclude": Field(
        25, "how many of these, the nearest, are too near to be negatives", NATURAL
    ),
    "hard_negative_temperature": Field(
        0.1, "a neighbour is drawn with probability ∝ exp(cosine / temperature)", POSITIVE
    ),
    "hard_negative_rate": Field(
        0.0, "in training, how often out-of-scope queries are drawn near a batch's edits", SHARE
    ),
}
BATCH = 256  # texts embedded at once
BLOCK = 1 << 26  # similarities on the device at once: 256 MB
NEIGHBOUR = np.dtype([("index", np.int32), ("similarity", np.float32)])


class Neighbours(NamedTuple):
    """The neighbours of each edit. The table stays on disk, so that worker processes share it.

    file: a table "n k" of NEIGHBOUR, nearest first.
    exclude: how many of the nearest are left out.
    temperature: of the distribution that negatives are drawn from.
    """

    file: Path
    exclude: int
    temperature: float

    def of(self, edit: int) -> tuple[np.ndarray, np.ndarray]:
        """The negatives of an edit, and the probability of each to be drawn."""
        near = memory_mapped(self.file)[edit, self.exclude :]
        return near["index"], distribution(near["similarity"], self.temperature)


def distribution(similarities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities ∝ exp(similarity / temperature) along the last axis."""
    weights = np.exp(
        (similarities.astype(np.float64) - similarities.max(-1, keepdims=True)) / temperature
    )
    return weights / weights.sum(-1, keepdims=True)


def find(
    name: str,
    edits: Sequence[str],
    pool: Sequence[str],
    *,
    count: int,
    exclude: int,
    temperature: float,
    cache: Path,
) -> Neighbours:
    """The questions of a pool that are nearest to each edit.

    Args:
      name: the sentence embedding model; a text's embedding is the mean over its tokens.
      edits: the edits' questions.
      pool: the questions that negatives are drawn from.
      count: the number of neighbours per edit.
      exclude: how many of the nearest are left out.
      temperature: of the distribution that negatives are drawn from.
      cache: keeps what was computed, by weights and texts.

    Raises:
      UserError: `exclude` leaves no negative.
    """
    if not 0 <= exclude < min(count, len(pool)) or temperature <= 0:
        raise UserError(
            f"data.hard_negative_exclude={exclude} of the {min(count, len(pool))} nearest questions"
            f" (data.hard_negative_neighbors={count}) leaves none, or"
            f" data.hard_negative_temperature={temperature} is not positive"
        )
    weights = models.digest(hub.resolve(name))
    digests = [
        hashlib.sha256(json.dumps([weights, texts]).encode()).hexdigest()
        for texts in (list(edits), list(pool))
    ]

    def compute() -> np.ndarray:
        vectors = [
            cached_array(cache / "embeddings" / f"{key}.npy", partial(embed, name, texts))
            for key, texts in zip(digests, (edits, pool), strict=True)
        ]
        return nearest(memory_mapped(vectors[0]), memory_mapped(vectors[1]), min(count, len(pool)))

    key = hashlib.sha256(json.dumps([*digests, count]).encode()).hexdigest()
    return Neighbours(
        cached_array(cache / "neighbours" / f"{key}.npy", compute), exclude, temperature
    )


def cached_array(file: Path, compute: Callable[[], np.ndarray]) -> Path:
    """The file of an array, computed if it does not exist.

    It is whole or absent, even if several processes write it or one is killed.
    """
    if not file.exists():
        array = compute()
        file.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(file) as new, new.open("wb") as handle:
            np.save(handle, array)
    return file


@lru_cache
def memory_mapped(file: Path) -> np.ndarray:
    """The array of a file, memory-mapped."""
    return np.load(file, mmap_mode="r")


def embed(name: str, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
    """The unit vector of each text: the mean of the last hidden states over its tokens.

    Texts of similar length are embedded together.
    """
    model, params = models.load(name, output="mean")
    rows = cut(model.tokenizer, list(texts), WIDTHS[-1])
    order = np.argsort([len(row) for row in rows], kind="stable")
    run = jax.jit(lambda params, tokens: unit(model.embed(params, tokens)))
    vectors = []
    for start in tqdm(
        range(0, len(rows), BATCH), desc=f"embedding {len(rows)} questions", leave=False, delay=2
    ):
        chunk = [rows[i] for i in order[start : start + BATCH]]
        tokens = pad([*chunk, *[[]] * (BATCH - len(chunk))], smallest(WIDTHS, len(chunk[-1])))
        vectors.append(np.asarray(run(params, tokens))[: len(chunk)])
    return np.concatenate(vectors)[np.argsort(order)]


def unit(vectors: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def nearest(
    edits: Float[np.ndarray, "n d"], pool: Float[np.ndarray, "m d"], count: int
) -> np.ndarray:
    """The `count` rows of `pool` with the largest cosine to each unit vector of `edits`.

    Returns:
      A table "n k" of NEIGHBOUR, nearest first, computed from at most BLOCK similarities at once.
    """
    size = max(1, min(len(edits), BLOCK // len(pool)))

    @jax.jit
    def top(block: Float[Array, "b d"], pool: Float[Array, "m d"]) -> Sequence[Array]:
        return jax.lax.top_k(jnp.matmul(block, pool.T, precision=jax.lax.Precision.HIGHEST), count)

    found, placed = np.empty((len(edits), count), NEIGHBOUR), jnp.asarray(pool)
    for start in tqdm(
        range(0, len(edits), size),
        desc=f"neighbours of {len(edits)} questions",
        leave=False,
        delay=2,
    ):
        block = edits[start : start + size]
        similarity, index = top(np.pad(block, ((0, size - len(block)), (0, 0))), placed)
        here = found[start : start + size]
        here["similarity"], here["index"] = (
            np.asarray(similarity)[: len(block)],
            np.asarray(index)[: len(block)],
        )
    return found
