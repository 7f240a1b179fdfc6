"""JSON files of a model's folder, and the error for files that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from serac_jax.core.errors import UserError


class DamagedFile(UserError):
    """A file of a model is not what its name says, or is incomplete."""

    def __init__(self, file: Path, problem: str):
        super().__init__(f"{file}: {problem}; is the file complete?")


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        DamagedFile: it is not JSON, or not an object.
        UserError: it asks for code of its own (`auto_map`), which is never run.
    """
    found = parsed(file)
    if not isinstance(found, dict):
        raise DamagedFile(file, f"holds a {type(found).__name__}, but should hold an object")
    if found.get("auto_map"):
        raise UserError(
            f"{file}: 'auto_map' asks for code from the model's folder, which is never run; use a"
            " model of a supported architecture"
        )
    return cast(dict[str, Any], found)


def read_json_list(file: Path) -> list[Any]:
    """The list in a JSON file of a model. Raises DamagedFile where it is not JSON, or no list."""
    found = parsed(file)
    if not isinstance(found, list):
        raise DamagedFile(file, f"holds a {type(found).__name__}, but should hold a list")
    return cast(list[Any], found)


def parsed(file: Path) -> Any:
    """What a JSON file holds. Raises DamagedFile."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DamagedFile(file, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # also of bytes that are not UTF-8
        raise DamagedFile(file, f"is not JSON ({error})") from error
