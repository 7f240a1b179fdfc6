"""Settings of the memory allocator and of thread use, for the whole process."""

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec

import jax

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # of malloc.h


def prepare() -> None:
    """Sets up the process. Must run before anything touches a device."""
    # a batch has few texts, and two threads make batches already
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if cpu_only():
        keep_freed()


def cpu_only() -> bool:
    """Whether JAX will find no accelerator; found out without starting JAX's threads."""
    named = jax.config.values["jax_platforms"]
    return named == "cpu" if named else not any(map(find_spec, ("jax_plugins", "libtpu")))


def keep_freed() -> bool:
    """Makes the C library keep freed memory; whether it can.

    XLA's CPU backend allocates a program's temporaries at every call. By default glibc returns such
    large blocks to the system, which zeroes their pages when they are allocated again: an eighth or
    more of a training step's CPU time (docs/speed.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return False
    # One heap for all threads (their own heaps would map large blocks separately), no separate
    # mappings, and no trimming.
    return all(
        mallopt(parameter, value)
        for parameter, value in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1))
    )


def give_back() -> bool:
    """Gives all freed memory back to the system; whether any was.

    For when another program begins, whose temporaries have another size: what was kept for the last
    one is in its way.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):
        return False
