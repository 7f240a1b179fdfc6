"""Memory-based model editing. `load` gives an editor that answers, `connect` one that answers on
another machine; what they need is only imported when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serac_jax.core.version import VERSION

if TYPE_CHECKING:
    from serac_jax.client.remote_editor import connect
    from serac_jax.serving.loading import load

__version__ = VERSION
__all__ = ["connect", "load"]


def __getattr__(name: str) -> Any:
    if name == "connect":
        from serac_jax.client.remote_editor import connect

        return connect
    if name != "load":
        raise AttributeError(f"module 'serac_jax' has no attribute {name!r}")
    from serac_jax.serving.loading import load

    return load
