"""Checksums of what a checkpoint holds, by which damage is noticed when it is restored.

They are taken of the numbers themselves, not of files: so they also cover what happens between the
device and the disk, and are the same on any number of devices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32

from serac_jax.core.sharding import path_name

UNSIGNED = {1: jnp.uint8, 2: jnp.uint16}  # by the bytes of a number; else uint32


def of_arrays(tree: Any) -> dict[str, list[int]]:
    """Two sums for every leaf, by its path. Waits for the device."""
    # One after the other: programs that overlap on fake devices can wait for one another forever.
    return {
        path_name(path): jax.device_get(sums(leaf)).tolist()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@jax.jit
def sums(leaf: Array) -> UInt32[Array, " 2"]:
    """The sum of all bits of an array, as numbers below 2³², and the sum weighted by place.

    Whole numbers, so that the order of adding changes nothing. The weights are a hash of the place,
    and odd: one number that differs always changes both sums.
    """
    kind = UNSIGNED.get(leaf.dtype.itemsize, jnp.uint32)
    plain = leaf.astype(jnp.uint8) if leaf.dtype == jnp.bool_ else leaf
    bits = jax.lax.bitcast_convert_type(plain, kind).astype(jnp.uint32)
    place, stride = jnp.zeros(bits.shape, jnp.uint32), 1
    for axis in reversed(range(bits.ndim)):  # not `ravel`, which would gather what is split
        along = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        place += along * jnp.uint32(stride % 2**32)
        stride *= bits.shape[axis]
    mixed = place * jnp.uint32(0x9E3779B1)
    weight = (mixed ^ (mixed >> jnp.uint32(15))) * jnp.uint32(0x85EBCA77) | jnp.uint32(1)
    return jnp.stack([bits.sum(dtype=jnp.uint32), (bits * weight).sum(dtype=jnp.uint32)])


def of_json(value: Any) -> str:
    """A digest of a value that is kept as JSON."""
    read_back = json.loads(json.dumps(value))
    return hashlib.sha256(json.dumps(read_back, sort_keys=True).encode()).hexdigest()


def difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The first name whose checksum is missing or differs; "" where all that was found is right."""
    return next((name for name in found if expected.get(name) != found[name]), "")
