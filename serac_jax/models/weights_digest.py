"""A digest of a model's weights and vocabulary, by which an editor knows what it was made with.

It depends on the numbers alone, not on the format of their file, and costs one look at each. Of
every tensor it takes the name, the shape, the sum of all its bits and 1,024 of its values: a weight
that differs changes the sum, weights that change places the values. It is meant to find mistakes,
not forgeries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

SAMPLES = 1024


def of_tensor(array: np.ndarray) -> bytes:
    """The digest of one tensor, as float32."""
    array = np.asarray(array, np.float32)
    stored = array if array.flags.c_contiguous else np.ascontiguousarray(array.T)
    bits = int(stored.view(np.uint32).sum(dtype=np.uint32)) if array.size else 0
    found = hashlib.sha256(f"{array.shape} {bits}".encode())
    if array.size:
        chosen = np.linspace(0, array.size - 1, min(SAMPLES, array.size)).astype(np.int64)
        found.update(array[np.unravel_index(chosen, array.shape)].tobytes())
    return found.digest()


def of_model(tensors: Iterable[tuple[str, bytes]], vocabulary: Mapping[str, int]) -> str:
    """The digest of a model.

    Args:
        tensors: the path and the digest of every tensor.
        vocabulary: the ids of its tokenizer, by token.
    """
    found = hashlib.sha256()
    for path, digest in sorted(tensors):
        found.update(path.encode() + b"\0" + digest)
    tokens = sorted((number, token) for token, number in vocabulary.items())
    found.update("\0".join(token for _, token in tokens).encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:32]
