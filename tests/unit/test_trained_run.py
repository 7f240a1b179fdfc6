"""An editor that train.py has trained answers as its evaluation says."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import serac_jax
from serac_jax import presets
from serac_jax.core.batch import take
from serac_jax.core.errors import UserError
from serac_jax.serving import loading
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import Checkpoints
from tests.tiny import one_layer

SMALL = {"base.name": one_layer("t5-tiny"), "serac.counterfactual": one_layer("t5-tiny")}
RUNS = {
    "serac": ("zsre_rep", {}),
    "retrieve and prompt": ("zsre_rp", SMALL),
    "cross-attention": (
        "zsre_rep",
        SMALL | {"serac.cross_attention": True, "serac.scope": one_layer("distilbert-tiny-cased")},
    ),
    "sentiment": ("sent_rep", {}),
    "fact checking": ("fnli_rep", {}),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_a_run_answers_as_in_its_evaluation(run, cache, tmp_path, monkeypatch):
    name, fields = RUNS[run]
    config = presets.preset(f"{name}:mini")
    config.update_from_flattened_dict(fields | {"data.cache": str(cache), "mesh.data": 1})
    built = experiment.build(config.lock(), cache)
    state = steps.init_state(
        built.editor,
        steps.make_optimizer(config.train, built.editor),
        built.base_params,
        0,
        built.mesh,
    )
    checkpoints = Checkpoints(run_folder.enter(tmp_path, config))
    checkpoints.save(state, iter(built.task.batches(config.eval.split, 4, True)), {})
    checkpoints.close()

    texts = next(iter(built.task.batches(config.eval.split, 4, False, lambda batch: batch)))
    batch = jax.tree.map(jnp.asarray, next(iter(built.task.batches(config.eval.split, 4, False))))
    sides = (texts.inside, batch.inside), (texts.outside, batch.outside)
    rows = [[row for row, query in enumerate(side) if query][:4] for side, _ in sides]
    questions = [
        side[row].question for (side, _), kept in zip(sides, rows, strict=True) for row in kept
    ]
    queries = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves),
        *(take(side, np.array(kept)) for (_, side), kept in zip(sides, rows, strict=True)),
    )

    @jax.jit
    def evaluated(params, base):
        edited = built.editor.edit(
            params, built.editor.start(params, base, batch.edits), batch.edits
        )
        if built.base.decodes:
            ids = built.editor.generate(params, edited, queries, config.data.answer_tokens)
        else:
            ids = built.editor.apply(params, edited, queries).argmax(-1)
        return built.editor.route(params, edited, queries), ids

    route, ids = evaluated(state.params, built.base_params)
    monkeypatch.setitem(sys.modules, "configs", None)  # as where only the package is installed
    editor = loading.load(tmp_path, mesh={"data": 2, "model": 2} if name == "zsre_rp" else None)
    edits = editor.edit_many(
        [(query.question, query.answer) for query in texts.edits], policy="keep"
    ).edits
    answers = editor.ask(questions)
    np.testing.assert_allclose(
        [answer.score for answer in answers], np.exp(route.log_similarity), rtol=1e-4
    )
    assert [answer.nearest.edit.id for answer in answers] == [
        edits[number].id for number in np.asarray(route.index)
    ]
    assert [answer.text for answer in answers] == [built.task.words(row) for row in ids]


@pytest.mark.parametrize(("method", "editor"), [("ft", "finetune"), ("lu", "lookup")])
def test_only_runs_that_keep_edits_as_text_are_loaded(tmp_path, method, editor):
    """What learns nothing has no checkpoints."""
    run_folder.enter(tmp_path, presets.preset(f"zsre_{method}:mini"))
    refused = f"a run of the editor {editor!r}; only SERAC's keeps edits as text"
    with pytest.raises(UserError, match=refused):
        serac_jax.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=refused):
        serac_jax.load(tmp_path)


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    config = presets.preset("zsre_rp:mini")
    config.update_from_flattened_dict(SMALL | {"data.cache": str(tmp_path / "cache")})
    run_folder.enter(tmp_path, config)
    with pytest.raises(UserError, match="has no checkpoint yet; continue the run"):
        serac_jax.load(tmp_path)


def test_a_run_of_a_later_version_is_refused(tmp_path):
    run_folder.enter(tmp_path, presets.preset("zsre_rep:mini"))
    (tmp_path / "checkpoints").mkdir()
    config = json.loads((tmp_path / "config.json").read_text())
    config["serac"]["pond"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"'serac\.pond', which this version does not know"):
        serac_jax.load(tmp_path)
