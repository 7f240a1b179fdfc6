"""From a model's name to a folder with its files: a path, a model that this package ships, or the Hugging Face Hub."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError

from serac_jax.errors import UserError

SHIPPED = Path(str(importlib.resources.files("serac_jax"))) / "mini" / "models"
SMALL_FILES = ["*.json", "*.txt", "*.model"]
FORMATS = ("model.safetensors", "flax_model", "pytorch_model")  # of weights, best first


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
        files = HfApi().list_repo_files(name)
        kept = next((kind for kind in FORMATS if any(file.startswith(kind) and not file.endswith(".h5") for file in files)), FORMATS[0])
        return Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, f"{kept}*"]))
    except RepositoryNotFoundError as error:
        raise ModelNotFound(f"{name!r} is not a folder, and the Hugging Face Hub has no such model (or it is private: log in with `hf auth login`)") from error
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise ModelNotFound(
            f"{name!r} is not a folder, is not in the Hugging Face cache, and the Hub cannot be reached. Give the path of a local copy, "
            f"or fetch it on a machine with network (`hf download {name}`) and share the cache through HF_HOME"
        ) from error
