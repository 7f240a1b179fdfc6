"""Programs that earlier test runs compiled, kept in the user's cache folder.

JAX finds a program by all that it computes, by its flags and by its own version; the folder's name
adds the processor, whose instructions programs use. A process works on links of its own and
publishes them when it ends, so that no other ever reads a file that is half written."""

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path

import jaxlib

MOST = 1 << 30  # bytes that are kept


def shared() -> Path:
    """The folder of this version of JAX and this processor."""
    flags = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    key = f"{jaxlib.__version__} {platform.machine()} {flags}"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "serac_jax" / "tests" / hashlib.sha256(key.encode()).hexdigest()[:16]


def link(source: Path, target: Path) -> None:
    """Links every file of one folder into another; nothing, where these are on two file systems."""
    target.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        for file in source.iterdir():
            with suppress(FileExistsError, FileNotFoundError):
                os.link(file, target / file.name)


def publish(source: Path, target: Path) -> None:
    """Links what a process compiled into the shared folder, and removes the oldest beyond MOST."""
    link(source, target)
    with suppress(OSError):
        files = sorted(
            ((file.stat(), file) for file in target.iterdir()), key=lambda found: found[0].st_mtime
        )
        size = sum(status.st_size for status, _ in files)
        for status, file in files:
            if size <= MOST:
                return
            file.unlink(missing_ok=True)
            size -= status.st_size
