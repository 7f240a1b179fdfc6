"""From a model's name to a folder with its files: a path, a model that this package ships, or the Hugging Face Hub."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from serac_jax.errors import UserError

SHIPPED = Path(str(importlib.resources.files("serac_jax"))) / "mini" / "models"
SMALL_FILES = ["*.json", "*.txt", "*.model"]
FORMATS = ("model.safetensors", "model-", "flax_model", "pytorch_model")  # how files of weights begin, best first


class ModelNotFound(UserError):
    """A model is neither a folder, nor shipped, nor cached, nor to be had from the Hub."""


def resolve(name: str) -> Path:
    """The folder of `name`: a path, "mini/…" for a shipped model, or a Hub repository, which is downloaded once and cached."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    kind, _, rest = name.partition("/")
    if kind == "mini":
        if (SHIPPED / rest).is_dir():
            return SHIPPED / rest
        shipped = ", ".join(sorted(f"mini/{path.name}" for path in SHIPPED.iterdir() if path.is_dir()))
        raise ModelNotFound(f"no model {name!r} is shipped; there are {shipped}")
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        pass  # not cached yet
    try:
        files = [file.rfilename for file in HfApi().model_info(name, timeout=20).siblings or []]
        kept = next((start for start in FORMATS if any(file.startswith(start) for file in files)), FORMATS[0])
        return Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, f"{kept}*"]))
    except RepositoryNotFoundError as error:
        raise ModelNotFound(f"{name!r} is not a folder, and the Hugging Face Hub has no such model (or it is private: log in with `hf auth login`)") from error
    except Exception as error:  # the Hub's own errors and those of whichever HTTP library it uses
        raise ModelNotFound(
            f"{name!r} is not a folder, is not in the Hugging Face cache, and the Hub cannot be reached. Give the path of a local copy, "
            f"or fetch it on a machine with network (`hf download {name}`) and share the cache through HF_HOME"
        ) from error
