"""Fields that are changed on the command line: `--train.lr=1e-4`, or `--config.train.lr=1e-4`."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.training import sections

WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse(arguments: Iterable[str]) -> dict[str, Any]:
    """The values of options such as `--train.lr=1e-4`, by field.

    Args:
      arguments: Options in the form `--FIELD=VALUE`. A field that is true or false may leave out
        its value.

    Raises:
      UserError: There is no such field, or the value is not of its type.
    """
    values = {}
    for argument in arguments:
        name, has_value, text = argument.partition("=")
        if not name.startswith("--"):
            raise UserError(f"unexpected argument {argument!r}; options look like --NAME=VALUE")
        name = name.removeprefix("--").removeprefix("config.")
        field = sections.FIELDS.get(name)
        if field is None:
            raise UserError(f"there is no option --{name}{sections.near(name, sections.FIELDS)}")
        kind = field.kind or type(field.default)
        if not has_value and kind is not bool:
            raise UserError(f"--{name} has no value; write --{name}=VALUE")
        values[name] = read(name, kind, text if has_value else "true")
    return values


def read(name: str, kind: type, text: str) -> Any:
    """A value of a field's type, from its text. Raises UserError where it is of another type."""
    try:
        if kind is bool:
            return WORDS[text.lower()]
        if kind is tuple:
            value = ast.literal_eval(text)
            return value if isinstance(value, tuple) else tuple(value)
        return None if text == "None" and kind is int else kind(text)
    except (KeyError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        expected = {bool: "true or false", tuple: "a tuple such as (1, 2)"}.get(kind)
        raise UserError(
            f"--{name}={text!r:.60}: expected {expected or f'a value of type {kind.__name__}'}"
        ) from error


def apply(config: Config, values: dict[str, Any]) -> Config:
    """The config with these fields changed, checked and locked. Raises UserError."""
    config.update_from_flattened_dict(values)
    sections.check(config)
    return config.lock()
