"""What every program that computes sets up: its process, and the folders that it caches in."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from types import CoroutineType

import jax

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.runtime import allocator


def prepare() -> None:
    """Sets up a process that trains or evaluates. Nothing may have touched a device before."""
    from absl import flags  # which answering does without

    allocator.prepare()
    # Programs that overlap on several fake devices can wait for one another's threads forever.
    jax.config.update(
        "jax_cpu_enable_async_dispatch", jax.config.values["jax_num_cpu_devices"] <= 1
    )
    flags.FLAGS.mark_as_parsed()  # grain's worker processes read them
    quiet_libraries()


def quiet_libraries() -> None:
    """Keeps libraries from announcing checkpoints and data files, and from printing what they also
    raise."""
    import absl.logging

    absl.logging.set_verbosity(absl.logging.FATAL)
    # Where orbax fails to read or write one array, it leaves the others alone: asyncio logs that
    # nobody asked how they ended, and each fails as well, or finds its event loop closed.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = unheard


def unheard(found: sys.UnraisableHookArgs) -> None:
    """Prints what can be raised nowhere, except that an event loop is closed, or how a coroutine
    ended that nobody waits for."""
    closed = isinstance(found.exc_value, RuntimeError) and "loop is closed" in str(found.exc_value)
    if not closed and not isinstance(found.object, CoroutineType):
        sys.__unraisablehook__(found)


def cache_folder(config: Config) -> Path:
    """Where downloads, prepared data and compiled programs are kept between runs. Raises UserError
    where it cannot be written."""
    return writable(
        files.expanded(config.data.cache) if config.data.cache else default_cache(), "data.cache"
    )


def default_cache() -> Path:
    """Where they are kept unless a config says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serac_jax"


def writable(folder: Path, name: str) -> Path:
    """The folder, made if need be. Raises UserError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"cannot write to {folder} ({error.strerror}); choose another folder with --{name}=…"
        ) from error
    return folder


def use_compilation_cache(cache: Path) -> None:
    """Keeps compiled programs on disk, so that a second start of the same run compiles nothing:
    where JAX_COMPILATION_CACHE_DIR says, otherwise in the cache folder."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache / "compiled"))
    least = "jax_persistent_cache_min_compile_time_secs"
    jax.config.update(least, min(jax.config.values[least], 0.05))
