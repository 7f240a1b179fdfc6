"""Reading, replacing and locking files, so that a kill or a full disk never leaves half a file."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from serac_jax.core.errors import UserError

PATIENCE = 30.0  # seconds that a writer waits for another


def resolve(path: str | Path) -> Path:
    """The absolute path of a regular file, which need not exist, with links followed.

    Raises:
      UserError: Nothing could be read or written there, as at a directory, a pipe, a loop of links
        or a name that is too long.
    """
    try:
        found = Path(path).expanduser().resolve()  # fails where the working folder is gone
        try:
            mode = found.stat().st_mode
        except FileNotFoundError:
            return found
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path!s:.200}: not a usable path ({reason(error)})") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: expected a file, not a {kind(mode)}")
    return found


def expanded(path: str | Path) -> Path:
    """A path with a leading ~ replaced; it need not lead anywhere.

    Raises:
      UserError: No file can have it.
    """
    try:
        found = Path(path).expanduser()
        found.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path!s:.200}: not a usable path ({reason(error)})") from error
    return found


def reason(error: Exception) -> str:
    """An error of the system in a few words."""
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return text.partition("\n")[0][:200] if text else type(error).__name__


def kind(mode: int) -> str:
    """What a path leads to, in a word."""
    kinds = {stat.S_ISDIR: "directory", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    return next((name for test, name in kinds.items() if test(mode)), "device")


def read(path: Path) -> bytes:
    """The file's bytes; none if it does not exist.

    Raises:
      UserError: It cannot be read.
    """
    try:
        return content(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"cannot read {path} ({reason(error)})") from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
      UserError: It cannot be read, or is not UTF-8.
    """
    try:
        data = content(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path!s:.200} ({reason(error)})") from error
    return text_of(data, str(path))


def content(path: Path) -> bytes:
    """The bytes of a file, of a pipe, or of what is typed.

    Raises:
      UserError: It is a device, some of which never end.
    """
    with path.open("rb") as file:
        refuse_device(file.fileno(), str(path))
        return file.read()


def refuse_device(descriptor: int, name: str) -> None:
    """Raises UserError where an open file is a device, of which some never end; a terminal and the
    null device are none."""
    found, null = os.fstat(descriptor), Path(os.devnull).stat()
    device = stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode)
    if device and not os.isatty(descriptor) and not os.path.samestat(found, null):
        raise UserError(f"{name}: expected a file, not a device")


def text_of(data: bytes, name: str) -> str:
    """Bytes as text, of which lines are to be divided at line feeds only: `splitlines` and files
    that are opened as text divide at other characters too, which an answer may have.

    Raises:
      UserError: They are not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}:{line}: not UTF-8 text") from error


def write(path: Path, data: bytes) -> None:
    """Replaces a file, or makes it, durably: at any time there is the old one or the new one."""
    with replacing(path) as new, new.open("r+b", buffering=0) as file:
        write_all(file, data)


def write_json(path: Path, value: Any) -> None:
    """As `write`, a value as indented JSON."""
    write(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """Replaces a file, or makes it, durably, by an empty one that the block writes to.

    It is in the same folder, under a name that nobody can guess or prepare, and is removed if
    anything fails.

    Yields:
      The new file's path.
    """
    new = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(new, flags, 0o666))
    try:
        yield new
        sync(new)
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def remove_leftovers(path: Path) -> None:
    """Removes what `replacing` left when it was killed. Only for who holds the file's lock."""
    for new in path.parent.glob(f".{glob_safe(path.name[:100])}.{'[0-9a-f]' * 16}.new"):
        with suppress(OSError):
            new.unlink()


def glob_safe(name: str) -> str:
    """A name as a pattern that matches only itself."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def appending(path: Path) -> FileIO:
    """Opens a log, to which whole lines are appended; one that does not exist is made."""
    return path.open("ab", buffering=0)


def append(path: Path, size: int, data: bytes) -> None:
    """Writes bytes after the first `size` ones, durably, and drops what was there."""
    with path.open("r+b", buffering=0) as file:
        file.seek(size)
        file.truncate()
        write_all(file, data)
        os.fsync(file.fileno())


def write_all(file: FileIO, data: bytes) -> None:
    """Writes without a buffer, so that an error comes at once and not when the file is closed."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def sync(path: Path) -> None:
    """Makes a file's content, or new names in a folder, durable where the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(
    path: Path, patience: float = PATIENCE, reading: bool = False
) -> Generator[FileIO, None, None]:
    """Holds the lock of a file, which is made if need be.

    Args:
      path: The file that stands for what is locked.
      patience: How many seconds to wait for another holder.
      reading: Share the lock with others that only read, and neither make nor write the file.

    Yields:
      The file, open for reading and writing without a buffer.

    Raises:
      UserError: Another program held the lock for too long.
      OSError: The file cannot be opened so, or its file system has no locks.
    """
    deadline = time.monotonic() + patience
    flags = os.O_CLOEXEC | (os.O_RDONLY if reading else os.O_RDWR | os.O_CREAT)
    while True:
        descriptor = os.open(path, flags, 0o666)
        with os.fdopen(descriptor, "rb" if reading else "r+b", buffering=0) as file:
            while not lock(file, fcntl.LOCK_SH if reading else fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise UserError(
                        f"another program has been writing to {path} for {patience:.0f} seconds;"
                        " try again when it has ended"
                    )
                time.sleep(0.005)
            if stamp(path)[0] == os.fstat(file.fileno()).st_ino:  # else it was replaced meanwhile
                yield file
                return


def lock(file: FileIO, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock was free, and is now held."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stamp(path: Path) -> tuple[int, int, int]:
    """A file's inode, size and time of change; zeros if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns
