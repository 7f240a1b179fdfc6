"""Errors that a user can mend."""

import json
import shutil

import pytest

from serac_jax import models
from serac_jax.core.errors import LONGEST, UserError
from tests.conftest import MODELS


def test_what_a_damaged_file_brings_does_not_fill_the_screen(tmp_path):
    """The beginning, which says where, and the end, which says what to do, are kept."""
    folder = shutil.copytree(MODELS / "t5-tiny", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"a" * 70_000: 3}))
    with pytest.raises(UserError) as caught:
        models.load(str(folder))
    told = str(caught.value)
    assert len(told) < LONGEST + 10
    assert told.startswith(f"{folder}: config.json sets aaa")
    assert told.endswith("aaa=3, which this network does not implement (default: None)")


def test_every_line_of_an_error_is_bounded_by_itself():
    lines = ["a" * LONGEST, "b" * LONGEST]
    assert str(UserError("\n".join(lines))) == "\n".join(lines)
    assert str(UserError(f"{lines[0]}a\n{lines[1]}")).split("\n")[1] == lines[1]
