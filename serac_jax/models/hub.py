"""From a model's name to a folder with its files: a path, a model that this package ships, or the
Hugging Face Hub.

`huggingface_hub` is imported only for names that need it.
"""

from __future__ import annotations

import importlib.resources
import shutil
from pathlib import Path

from serac_jax.core.errors import UserError

SHIPPED = Path(str(importlib.resources.files("serac_jax"))) / "assets" / "models"
SMALL_FILES = ["*.json", "*.txt", "*.model"]
# Files of weights, the best format first; behind an index its parts.
WEIGHTS = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*"),
    ("flax_model.msgpack",),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*"),
)


class ModelNotFound(UserError):
    """A model is neither a folder, nor shipped, nor cached, nor available from the Hub."""


def resolve(name: str) -> Path:
    """The folder of `name`: a path, "mini/…" for a shipped model, or a Hub repository, which is
    downloaded once and cached."""
    if folder := local(name) or cached(name):
        return folder
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        files = [file.rfilename for file in HfApi().model_info(name, timeout=20).siblings or []]
        kept = next((weights for weights in WEIGHTS if weights[0] in files), WEIGHTS[0])
        return Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, *kept]))
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"{name!r} is not a folder, and the Hugging Face Hub has no such model (or it is"
            " private: log in with `hf auth login`)"
        ) from error
    except Exception as error:  # the Hub's own errors and those of whichever HTTP library it uses
        raise ModelNotFound(
            f"{name!r} is not a folder, is not in the Hugging Face cache, and the Hub cannot be"
            " reached. Give the path of a local copy, or fetch everything on a machine with"
            " network (`serac download PRESET`) and share the cache through"
            " HF_HOME"
        ) from error


def local(name: str) -> Path | None:
    """The folder of a name that is a path, or of a model that is shipped; None for a Hub
    repository."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    kind, _, rest = name.partition("/")
    if kind != "mini":
        return None
    if not (SHIPPED / rest).is_dir():
        shipped = ", ".join(
            sorted(f"mini/{path.name}" for path in SHIPPED.iterdir() if path.is_dir())
        )
        raise ModelNotFound(f"no model {name!r} is shipped; there are {shipped}")
    return SHIPPED / rest


def cached(name: str) -> Path | None:
    """The folder of `name` in the Hugging Face cache; None where it is not there, or not all of
    what is needed, since a download was stopped."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for weights in WEIGHTS:
        try:
            folder = Path(
                snapshot_download(
                    name, local_files_only=True, allow_patterns=[*SMALL_FILES, *weights]
                )
            )
        except (LocalEntryNotFoundError, ValueError):
            continue
        if (folder / weights[0]).exists():
            return folder
    return None


def described(name: str) -> Path:
    """A folder with the configuration and the tokenizer of `name`, perhaps without its weights. Of
    the Hub's files only these are fetched."""
    if folder := local(name):
        return folder
    from huggingface_hub import snapshot_download

    for offline in (True, False):
        try:
            folder = Path(
                snapshot_download(name, local_files_only=offline, allow_patterns=SMALL_FILES)
            )
        except Exception:  # the cache's error, then the Hub's, and those of its HTTP library
            continue
        if (folder / "config.json").exists():
            return folder
    raise ModelNotFound(
        f"{name!r} is not a folder, and neither the Hugging Face cache nor the Hub gives its"
        " configuration; give the path of a local copy"
    )


def adopt(name: str, mirror: Path) -> None:
    """Copies the folder MIRROR/name into the Hugging Face cache, where `name` is then found. Does
    nothing where it needs no download."""
    if local(name) or cached(name):
        return
    if not (mirror / name).is_dir():
        raise ModelNotFound(
            f"{mirror} has no folder {name!r}; a mirror has every model under its name"
        )
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    home = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")
    part, copy = home / "snapshots" / "mirrored.part", home / "snapshots" / "mirrored"
    for old in (part, copy):  # of a copy that was stopped
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(mirror / name, part, ignore=shutil.ignore_patterns(".*"))
    part.rename(copy)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text(copy.name)
