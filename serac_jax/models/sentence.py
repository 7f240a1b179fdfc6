"""How a sentence encoder pools its token states, as folders of sentence-transformers declare it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from serac_jax.core import files
from serac_jax.core.model_files import DamagedFile, read_json, read_json_list
from serac_jax.models.network import WeightError

MODULES = "modules.json"
MODES = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}


class Pooling(NamedTuple):
    """The output that a network is read for ("cls" or "mean"), and whether vectors get length 1."""

    output: str
    unit: bool


def pooling(name: str, folder: Path) -> Pooling:
    """The pooling that a folder declares.

    Args:
        name: of the model, for messages.

    Raises:
        WeightError: it declares none, or one that is not implemented.
        DamagedFile: a file is damaged.
    """
    file = folder / MODULES
    if not file.exists():
        raise WeightError(
            f"{name} does not say how its sentences are pooled: expected {MODULES}, as"
            " sentence-transformers writes; choose 'mean' or 'cls' instead of 'sentence'"
        )
    modules = [module if isinstance(module, dict) else {} for module in read_json_list(file)]
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise WeightError(
            f"{name}: {MODULES} lists {', '.join(kinds)}; implemented is Transformer, Pooling and"
            " perhaps Normalize"
        )
    place = folder / str(modules[1].get("path")) / "config.json"
    if not place.resolve().is_relative_to(folder.resolve()):
        raise DamagedFile(file, "names files outside of its folder")
    return Pooling(mode(name, read_json(place)), len(kinds) == 3)


def mode(name: str, settings: dict[str, Any]) -> str:
    """The output for the settings of a Pooling module."""
    asked = {key for key, value in settings.items() if key.startswith("pooling_mode_") and value}
    if isinstance(newer := settings.get("pooling_mode"), str):
        asked.add(f"pooling_mode_{newer}_token{'s' if newer == 'mean' else ''}")
    if len(asked) != 1 or not asked <= MODES.keys():
        raise WeightError(
            f"{name}: sentences are pooled by {', '.join(sorted(asked)) or 'nothing'}; implemented"
            f" are {' and '.join(MODES)}"
        )
    return MODES[asked.pop()]


def copy(source: Path, folder: Path) -> None:
    """Copies the files that declare the pooling, where `source` has them."""
    if not (source / MODULES).exists():
        return
    for file in (MODULES, *(str(place.relative_to(source)) for place in source.glob("*_*/*.json"))):
        (folder / file).parent.mkdir(exist_ok=True)
        files.write(folder / file, (source / file).read_bytes())
