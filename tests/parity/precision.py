"""Single precision, in which the program runs, or double, which tells rounding from a difference.

Where rounding is magnified, as by an optimizer that divides a gradient by its own size, two right
programs in single precision disagree. A case that is over its tolerance is computed again in double
precision: what rounding explains is gone there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from serac_jax import models
from serac_jax.models import Model


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Numbers that are not told otherwise are float64."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def real(leaf: Any) -> Array:
    """A leaf in the precision of the context, if it is a number with a point."""
    return jnp.asarray(
        leaf,
        jnp.result_type(float) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else None,
    )


def load(folder: Path, **options: Any) -> tuple[Model, Any]:
    """A model that computes in the precision of the context."""
    return models.load(
        str(folder), dtype=jnp.result_type(float), place=lambda path, array: real(array), **options
    )
