"""What evaluation scores is what answers, for hundreds of questions."""

import pytest

import serac_jax
from serac_jax.presets import preset
from serac_jax.serving.as_experiment import as_experiment
from tests.scored import SHIPPED, differences


@pytest.mark.parametrize(("name", "named"), SHIPPED.items(), ids=SHIPPED)
def test_hundreds_of_questions_are_answered_as_they_are_scored(name, named, tmp_path):
    config = preset(named)
    config.mesh.data = 1
    editor = serac_jax.load(name)
    run, params = as_experiment(editor.parts, config.lock(), tmp_path)
    asked, found = differences(editor, run, params, config, 10, 500)
    assert asked >= 500
    assert found == []
