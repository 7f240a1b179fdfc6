"""Folders of models with a damaged file: they load, or are refused in one line that names them."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serac_jax import models
from serac_jax.core.errors import UserError
from serac_jax.serving import editor_spec, saved_editor
from tests.conftest import MODELS, TEMPORARY
from tests.tiers import fast

NUMBERS = [0, -1, 1.5, 2**31, 10**12, 10**400, 1e308, float("nan"), float("inf")]
NONSENSE = [*NUMBERS, True, None, "", "x", "\ud800", [], [[1]], {}, {"a": None}]
FOLDERS = {
    "t5-tiny": "",
    "bert-tiny-cased": "mean",
    "distilbert-tiny-cased": "head",
    "blenderbot_small-tiny": "",
}


def changed_bytes(draw, data):
    """Bytes that were cut, emptied, or changed in a few places."""
    way = draw(st.sampled_from(["cut", "empty", "flip", "zeros", "more"]))
    reach = draw(st.sampled_from([len(data), min(len(data), 1000)]))  # headers are in front
    place = draw(st.integers(0, max(reach - 1, 0)))
    if way in ("cut", "empty"):
        return data[: place if way == "cut" else 0]
    if way == "zeros":
        return data[:place] + bytes(len(data[place : place + 64])) + data[place + 64 :]
    if way == "more":
        return data[:place] + draw(st.binary(min_size=1, max_size=8)) + data[place:]
    found = bytearray(data)
    for at in draw(st.lists(st.integers(0, max(reach - 1, 0)), min_size=1, max_size=16)):
        found[at] ^= 1 << (at % 8)
    return bytes(found)


def places_of(value, path=()):
    """The paths of all that is in a JSON value; of long lists, of the first entries."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:20])
    for key, inner in list(entries):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places_of(inner, (*path, key))


def changed_json(draw, data):
    """JSON with another value in one place."""
    found = json.loads(data)
    *path, last = draw(st.sampled_from(list(places_of(found))))
    inner = found
    for key in path:
        inner = inner[key]
    inner[last] = draw(st.sampled_from(NONSENSE))
    return json.dumps(found).encode()


@st.composite
def damage(draw, folder):
    """A file of a folder, and its damaged content."""
    file = draw(st.sampled_from(sorted(path.name for path in folder.iterdir() if path.is_file())))
    data = (folder / file).read_bytes()
    # json.dumps writes numbers of 400 digits, but no longer ones
    structured = file.endswith(".json") and draw(st.booleans())
    return file, (changed_json if structured else changed_bytes)(draw, data)


def refused_in_one_line(use, file):
    said = ""
    try:
        use()
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 700
    assert not said or str(file.parent) in said


@pytest.mark.parametrize("name", fast(FOLDERS, ["t5-tiny"]))
def test_a_damaged_file_of_a_model_is_read_or_refused(name):
    whole, folder = MODELS / name, TEMPORARY / "damaged" / name

    @settings(max_examples=300 if name != "t5-tiny" else 15, deadline=None, database=None)
    @given(damage(whole))
    def check(found):
        file, content = found
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        (folder / file).write_bytes(content)

        def use():
            model, _ = models.load(str(folder), output=FOLDERS[name], place=lambda path, leaf: leaf)
            model.tokenizer.decode(model.tokenizer("Hello there!")["input_ids"])

        refused_in_one_line(use, folder / file)

    check()


@settings(max_examples=200, deadline=None, database=None)
@given(st.data(), st.sampled_from(["zsre", "smollm2"]))
def test_a_damaged_editor_json_is_read_or_refused(data, name):
    whole = (saved_editor.SHIPPED / name / editor_spec.FILE).read_bytes()
    change = data.draw(st.sampled_from([changed_bytes, changed_json]))
    folder = TEMPORARY / "damaged" / "editor"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / editor_spec.FILE
    file.write_bytes(change(data.draw, whole))
    refused_in_one_line(lambda: editor_spec.read(folder), file)


@pytest.mark.parametrize("field", ["num_layers", "num_heads", "d_kv"])
@pytest.mark.parametrize("value", [0, -3, 10**6, 2**31 - 1, 10**30])
def test_a_nonsensical_size_is_refused_at_once(tmp_path, field, value):
    folder = shutil.copytree(MODELS / "t5-tiny", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(UserError) as error:
        models.load(str(folder))
    assert "\n" not in str(error.value)
