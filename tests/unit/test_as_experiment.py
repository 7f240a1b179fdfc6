"""What evaluation scores is what answers: the same edit and the same text for every question."""

import pytest

import serac_jax
from serac_jax.core.errors import UserError
from serac_jax.presets import preset
from serac_jax.serving.as_experiment import as_experiment
from tests.scored import SHIPPED, differences
from tests.tiers import fast


@pytest.mark.parametrize("name", fast(SHIPPED, ["mini/fnli"]))
def test_the_shipped_editors_answer_as_they_are_scored(name, tmp_path):
    config = preset(SHIPPED[name])
    config.mesh.data = 1
    editor = serac_jax.load(name)
    run, params = as_experiment(editor.parts, config.lock(), tmp_path)
    assert differences(editor, run, params, config, 4, 8)[1] == []


def test_an_editor_is_scored_on_a_task_of_its_own_kind(tmp_path):
    config = preset("zsre_rep:mini").lock()
    editor = serac_jax.load("mini/fnli")
    with pytest.raises(UserError, match="answers with refuted, supported, but the task 'zsre'"):
        as_experiment(editor.parts, config, tmp_path)
