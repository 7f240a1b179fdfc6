"""What evaluation scores is what answers: the same edit and the same text for every question."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import serac_jax
from serac_jax.core.batch import take
from serac_jax.core.errors import UserError
from serac_jax.edits.store import Store
from serac_jax.serving.as_experiment import as_experiment

EDITORS = {"mini": "zsre_rep", "mini/fnli": "fnli_rep", "mini/sent": "sent_rep"}


def differences(editor, run, params, config, count):
    """Questions that are answered otherwise by the evaluated editor than by the service."""
    split = config.eval.split
    texts = next(iter(run.task.batches(split, 4, False, lambda batch: batch)))
    batch = jax.tree.map(jnp.asarray, next(iter(run.task.batches(split, 4, False))))

    def answers(params, base, edits, queries):
        edited = run.editor.edit(params, run.editor.start(params, base, edits), edits)
        found = run.editor.route(params, edited, queries)
        if run.base.decodes:
            steps = editor.encoder.label_widths[-1]
            return found, run.editor.generate(params, edited, queries, steps)
        return found, run.editor.apply(params, edited, queries).argmax(-1)

    answers = jax.jit(answers)
    alone = editor.with_memory(Store.open(None))
    pairs = [(query.question, query.answer) for query in texts.edits]
    edits = alone.edit_many(pairs, policy="keep").edits
    found = []
    for asked, queries in ((texts.inside, batch.inside), (texts.outside, batch.outside)):
        rows = [row for row, query in enumerate(asked) if query][:count]
        route, ids = answers(params, run.base_params, batch.edits, take(queries, np.array(rows)))
        said = alone.ask([asked[row].question for row in rows])
        for number, answer in enumerate(said):
            expected = (
                edits[int(route.index[number])].id if route.hit[number] else None,
                run.task.words(np.asarray(ids[number])),
            )
            if expected != (answer.edit_id, answer.text):
                found.append((answer.question, expected, (answer.edit_id, answer.text)))
    return found


@pytest.mark.parametrize(("name", "config"), EDITORS.items(), ids=EDITORS)
def test_the_shipped_editors_answer_as_they_are_scored(name, config, tmp_path):
    config = importlib.import_module(f"configs.{config}").get_config("mini")
    config.mesh.data = 1
    editor = serac_jax.load(name)
    run, params = as_experiment(editor.parts, config.lock(), tmp_path)
    assert differences(editor, run, params, config, 8) == []


def test_an_editor_is_scored_on_a_task_of_its_own_kind(tmp_path):
    config = importlib.import_module("configs.zsre_rep").get_config("mini").lock()
    editor = serac_jax.load("mini/fnli")
    with pytest.raises(UserError, match="answers with refuted, supported, but the task 'zsre'"):
        as_experiment(editor.parts, config, tmp_path)
