"""What the programs share: flags, the cache folders, and errors told in one line."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging

from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.runtime import allocator


def run(main: Callable[[], None]) -> None:
    """Runs a program: flags that do not parse and UserErrors end it with one message and status
    1."""
    allocator.prepare()
    # Programs that overlap on several fake devices can wait for one another's threads forever.
    jax.config.update(
        "jax_cpu_enable_async_dispatch", jax.config.values["jax_num_cpu_devices"] <= 1
    )
    app.run(lambda argv: guarded(main, argv), flags_parser=parse)


def parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except UserError as error:
        fail(str(error))
    except (flags.Error, AttributeError, KeyError, ValueError, TypeError, OSError) as error:
        text = str(error.args[0] if error.args else error).strip()
        fail(
            f"{text.splitlines()[-1] if isinstance(error, OSError) else text} (fields and their"
            " meaning: configs/common.py)"
        )


def guarded(main: Callable[[], None], argv: list[str]) -> None:
    if len(argv) > 1:
        fail(f"unexpected argument {argv[1]!r}; options look like --name=value")
    logging.set_verbosity(logging.WARNING)  # libraries tell about every checkpoint and data file
    try:
        main()
    except UserError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def cache_folder(config: Config) -> Path:
    """Where downloads, prepared data and compiled programs are kept between runs. Raises UserError
    where it cannot be written."""
    return writable(
        Path(config.data.cache).expanduser() if config.data.cache else default_cache(), "data.cache"
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
    """Keeps compiled programs on disk, so that a second start of the same run compiles nothing."""
    jax.config.update("jax_compilation_cache_dir", str(cache / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
