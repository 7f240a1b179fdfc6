"""What a served model is held and computed in: as the run was, as editor.json says, as is asked."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import serac_jax
from serac_jax.cli import main as shell
from serac_jax.core.errors import UserError
from serac_jax.serving import editor_spec, loading, saved_editor
from serac_jax.serving.loading import EditorService
from serac_jax.serving.trained_run import dtype_of
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import Checkpoints
from tests.fact_runs import EDITORS, config_on_facts, facts
from tests.tiny import config_of

BFLOAT16 = {"base.dtype": "bfloat16", "base.param_dtype": "bfloat16"}
SIZES = {"data.sizes": 1, "data.answer_tokens": 8, "adapter_serac.border": 0.0}
EDITS = [(fact.prompt, fact.answer) for fact in facts(4)]
QUESTIONS = [ask.question for fact in facts(4) for ask in fact.asks[:3]]


class Saved(NamedTuple):
    """A run in bfloat16, the editor that it is, and where that is saved."""

    run: Path
    editor: EditorService
    folder: Path


@pytest.fixture(scope="module", params=["adapters", "serac", "retrieve and prompt"])
def promotion(request):
    """Flax's layer norm, which the scope classifiers have, promotes bfloat16 to float32 by itself;
    beside a reader that judges the classifier is in float32."""
    strict = request.param == "adapters"
    with nullcontext() if strict else jax.numpy_dtype_promotion("standard"):
        yield request.param


@pytest.fixture(scope="module")
def saved(promotion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = config_on_facts(folder, EDITORS[promotion] | BFLOAT16 | SIZES)
    built = experiment.build(config, folder / "cache")
    optimizer = steps.make_optimizer(config.train, built.editor)
    state = steps.init_state(built.editor, optimizer, built.base_params, 0, built.mesh)
    noisy = jax.tree.map(noise, state.params)  # as after some training
    checkpoints = Checkpoints(run_folder.enter(folder / "run", config))
    batches = built.task.batches(config.data.val_split, 2, True)
    checkpoints.save(state._replace(params=noisy), iter(batches), {})
    checkpoints.close()
    editor = loaded(folder / "run")
    editor.edit_many(EDITS, policy="keep")
    editor.save(folder / "saved")
    return Saved(folder / "run", editor, folder / "saved")


def noise(leaf):
    drawn = np.random.default_rng(leaf.size).normal(0, 0.05, leaf.shape)
    return leaf + jnp.asarray(drawn, leaf.dtype)


def loaded(folder, **how):
    """An editor; that its weights are not those that it was made with would be an error."""
    with pytest.warns(loading.Uncalibrated):
        return serac_jax.load(folder, **how)


def told(editor):
    """Everything about the answers of an editor to QUESTIONS, and to the edits in their own words,
    and what the base model says to them."""
    if not editor.memory.live():
        editor.edit_many(EDITS, policy="keep")
    questions = [*QUESTIONS, EDITS[0][0]]
    answers = [(one.text, one.score, one.nearest.edit.prompt) for one in editor.ask(questions)]
    return answers, editor.base(questions)


def held(editor):
    """What the weights of each part are held in."""
    return {
        part: {leaf.dtype.name for leaf in jax.tree.leaves(network.params)}
        for part, network in editor.parts.networks.items()
    }


def computed(editor):
    """What each part is computed in."""
    networks = editor.parts.networks.items()
    return {part: jnp.dtype(network.model.module.config.dtype).name for part, network in networks}


def size(editor):
    """Bytes of the base model's weights."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(editor.parts.networks["base"].params))


def test_a_run_in_bfloat16_is_saved_and_loaded_in_it_and_answers_alike(saved, tmp_path):
    fields = json.loads((saved.folder / "editor.json").read_text())
    assert fields["dtype"] == "bfloat16"
    weights = load_file(saved.folder / "base" / "model.safetensors")
    assert {array.dtype.name for array in weights.values()} == {"bfloat16"}
    again = loaded(saved.folder)
    assert held(again) == held(saved.editor)
    for part, dtypes in held(again).items():
        assert dtypes == {"bfloat16" if part == "base" else "float32"}
    assert computed(again) == computed(saved.editor)
    assert told(again) == told(saved.editor)
    again.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "editor.json").read_text()) == fields


def test_the_dtype_that_is_asked_for_is_in_place_of_the_editors(saved, tmp_path):
    for folder in (saved.run, saved.folder):
        wide = loaded(folder, dtype="float32")
        for found in (held(wide).values(), [{name} for name in computed(wide).values()]):
            assert all(names == {"float32"} for names in found)
        assert size(wide) == 2 * size(saved.editor)
    wide.save(tmp_path / "wide")
    assert "dtype" not in json.loads((tmp_path / "wide" / "editor.json").read_text())
    narrow = loaded(tmp_path / "wide", dtype="bfloat16")
    assert size(narrow) == size(saved.editor)
    assert told(narrow) == told(saved.editor)


@pytest.mark.parametrize("promotion", ["adapters"], indirect=True)
def test_the_command_line_names_a_dtype(saved, tmp_path, capsys, monkeypatch):
    for name in ("SERAC_MEMORY", "SERAC_EDITOR", "SERAC_MESH"):
        monkeypatch.delenv(name, raising=False)
    memory = f"--memory={tmp_path / 'edits.jsonl'}"
    assert shell.main(["add", *EDITS[0], memory]) == 0
    dtypes, load = [], loading.load
    monkeypatch.setattr(
        loading, "load", lambda name, **how: dtypes.append(how["dtype"]) or load(name, **how)
    )
    command = ["ask", EDITS[0][0], f"--editor={saved.folder}", memory]
    assert shell.main([*command, "--dtype=float32"]) == 0
    assert shell.main(command) == 0
    assert dtypes == ["float32", None]
    assert shell.main([*command, "--dtype=float16"]) == 1
    assert "invalid choice: 'float16'" in capsys.readouterr().err
    assert shell.main(["check", "--dtype=float32", memory]) == 1
    assert "--dtype is for an editor, and none is named" in capsys.readouterr().err
    assert shell.main(["ask", "And?", "--dtype=float32", "--server=http://127.0.0.1:9"]) == 1
    assert "--dtype is for an editor here" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["float16", "", jnp.bfloat16])
def test_a_dtype_that_is_none_is_refused(dtype):
    with pytest.raises(UserError, match=r"^dtype=.* is not known; use 'float32' or 'bfloat16'$"):
        serac_jax.load("mini", dtype=dtype)


@pytest.mark.parametrize("dtype", ["float16", "", None, ["float32"]])
def test_a_dtype_of_a_file_that_is_none_is_refused(tmp_path, dtype):
    folder = shutil.copytree(saved_editor.SHIPPED / "zsre", tmp_path / "editor")
    fields = json.loads((folder / "editor.json").read_text())
    (folder / "editor.json").write_text(json.dumps(fields | {"dtype": dtype}))
    with pytest.raises(UserError, match=r"field 'dtype' is .*; expected one of 'float32'") as told:
        serac_jax.load(folder)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", sorted(set(saved_editor.SHIPPED_FOLDERS.values())))
def test_the_shipped_editors_are_in_float32(name):
    assert editor_spec.read(saved_editor.SHIPPED / name).dtype == "float32"


def test_weights_that_are_only_named_are_the_same_in_another_dtype(tmp_path):
    """What is cast are still the weights that the editor was made with."""
    serac_jax.load("mini").save(tmp_path / "wide", base="reference")
    narrow = serac_jax.load(tmp_path / "wide", dtype="bfloat16")  # a warning would be an error
    narrow.save(tmp_path / "narrow", base="reference")
    wide, fields = (
        json.loads((tmp_path / name / "editor.json").read_text()) for name in ("wide", "narrow")
    )
    assert fields == wide | {"dtype": "bfloat16"}
    assert held(serac_jax.load(tmp_path / "narrow"))["base"] == {"bfloat16"}


@pytest.mark.parametrize("narrow", [(), ("dtype",), ("param_dtype",), ("dtype", "param_dtype")])
def test_an_editor_is_in_the_wider_dtype_of_its_run(narrow):
    config = config_of(**{f"base.{name}": "bfloat16" for name in narrow})
    assert dtype_of(config) == ("bfloat16" if len(narrow) == 2 else "float32")
