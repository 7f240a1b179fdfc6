"""What a program sets for its whole process before it begins."""

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec

import jax

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # of malloc.h


def prepare() -> None:
    """Nothing may have touched a device before."""
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # of a batch's few texts; two threads make batches already
    if cpu_only():
        keep_freed()


def cpu_only() -> bool:
    """Whether JAX will find no accelerator, without asking it, which would start threads."""
    named = jax.config.values["jax_platforms"]
    return named == "cpu" if named else not any(map(find_spec, ("jax_plugins", "libtpu")))


def keep_freed() -> bool:
    """Keeps the memory that is freed; whether the C library can.

    XLA's CPU backend allocates the temporaries of a program whenever it is called. glibc gives so
    large blocks back to the system when they are freed, and the system fills their pages with zeros
    when they are asked for again: an eighth of the processor time of a training step, and more
    (docs/speed.md)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return False
    # One heap, since blocks as large as these are mapped one by one where a thread has its own;
    # nothing is mapped beside it; its end is never given back.
    return all(
        mallopt(parameter, value)
        for parameter, value in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1))
    )
