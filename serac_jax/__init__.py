"""Memory-based model editing. `load` gives an editor that answers; what it needs is only imported
when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serac_jax.core.version import VERSION

if TYPE_CHECKING:
    from serac_jax.serving.loading import load

__version__ = VERSION
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name != "load":
        raise AttributeError(f"module 'serac_jax' has no attribute {name!r}")
    from serac_jax.serving.loading import load

    return load
