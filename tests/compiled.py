"""Programs that earlier test runs compiled, kept in the user's cache folder.

JAX finds a program by all that it computes, by its flags and by its own version; the folder's name
adds the processor, whose instructions programs use. A process works on links of its own and
publishes them between files of tests, so that no other ever reads a file that is half written."""

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path

import jaxlib

MOST = 1 << 29  # bytes that are kept


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
        names = [{file.name for file in folder.iterdir()} for folder in (source, target)]
        for name in names[0] - names[1]:
            with suppress(FileExistsError, FileNotFoundError):
                os.link(source / name, target / name)


def tidy(folder: Path) -> None:
    """Removes the oldest files beyond MOST."""
    with suppress(OSError):
        files = sorted(
            ((file.stat(), file) for file in folder.iterdir()), key=lambda found: found[0].st_mtime
        )
        size = sum(status.st_size for status, _ in files)
        for status, file in files:
            if size <= MOST:
                return
            file.unlink(missing_ok=True)
            size -= status.st_size
