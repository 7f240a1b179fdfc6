"""Where data come from: a folder, the data that this package ships, or the original's archive."""

from __future__ import annotations

import importlib.resources
import zipfile
from pathlib import Path

from serac_jax.core import files
from serac_jax.tasks.data_files import one_at_a_time
from serac_jax.text.queries import DataError

FILE_ID = "1W-7Yb0eMxwZqdr7aeSgvZnbFKkzwavn6"
LINK = f"https://drive.google.com/file/d/{FILE_ID}/view"
SHIPPED = Path(str(importlib.resources.files("serac_jax"))) / "assets" / "data"


def locate(folder: str, cache: Path) -> Path:
    """The data folder.

    Args:
      folder: a folder, or "mini" for the shipped data; empty for the original's archive, which is
        downloaded once.
      cache: where downloads are kept.
    """
    if folder == "mini":
        return SHIPPED
    if folder:
        path = files.expanded(folder)
        if not path.is_dir():
            raise DataError(
                f"data.dir={folder!r} is not a folder; give the folder that holds the task's files"
                f" (zsre/ for zsRE), or leave it empty to download {LINK}"
            )
        return path
    target = cache / "archive"
    with one_at_a_time(cache):
        if not (target / "complete").exists():
            download(target)
    return next((path.parent for path in sorted(target.rglob("zsre")) if path.is_dir()), target)


def download(target: Path) -> None:
    """Downloads and unpacks the archive, with progress.

    The file `target/complete` marks that all of it is there.
    """
    import gdown

    target.mkdir(parents=True, exist_ok=True)
    packed = target / "archive.zip"
    try:
        gdown.download(id=FILE_ID, output=str(packed), resume=True)
        with zipfile.ZipFile(packed) as files:
            files.extractall(target)
    except Exception as error:  # gdown raises errors of its own, of requests and of the file system
        if isinstance(error, zipfile.BadZipFile):
            packed.unlink()  # or the next attempt would resume from it
        raise DataError(
            f"could not download the data from {LINK} ({type(error).__name__}: {error}). On a"
            " machine without network give a local copy: --config.data.dir=FOLDER, where FOLDER"
            " holds zsre/ (and nq/); or try the shipped data: --config=…:mini"
        ) from error
    packed.unlink()
    (target / "complete").touch()
