"""Ahead-of-time compilation sees what a run will be."""

import math

import jax
import jax.numpy as jnp
import pytest

from serac_jax.core.errors import UserError
from serac_jax.training import ahead, experiment, steps
from tests.causal_models import in_pieces, one_layer
from tests.conftest import MODELS
from tests.tiers import fast
from tests.tiny import config_of, tiny

FIELDS = {"mesh.data": 2, "mesh.fsdp": 2, "mesh.model": 2, "train.edits": 4, "eval.edits": 3}
EDITORS = {
    "serac": {},
    "mend": {"editor": "mend", "mend.rank": 8},
    "a causal base in bfloat16": {
        "base.param_dtype": "bfloat16",
        "base.dtype": "bfloat16",
        "serac.freeze_counterfactual": True,
    },
    "adapters on a causal base": {
        "editor": "adapter_serac",
        "adapter_serac.encoder": str(MODELS / "distilbert-tiny-cased"),
        "adapter_serac.encoder_rank": 4,
        "adapter_serac.reader_rank": 4,
    },
}


@pytest.fixture(autouse=True)
def promotion(request):
    """Flax's layer norm, which BERT has, promotes bfloat16 to float32 by itself."""
    with jax.numpy_dtype_promotion("standard" if "bfloat16" in request.node.name else "strict"):
        yield


def fields_of(name):
    causal = {"base.name": one_layer("llama")} if "causal" in name else {}
    if "adapters" in name:
        causal = {"base.name": in_pieces(), "data.question_tokens": 200}
    return tiny() | FIELDS | EDITORS[name] | causal


@pytest.mark.parametrize("name", fast(EDITORS, ["adapters on a causal base"]))
def test_the_shapes_and_places_are_those_of_the_run(tmp_path, name):
    config = config_of(**fields_of(name))
    real = experiment.build(config, tmp_path)
    optimizer = steps.make_optimizer(config.train, real.editor)
    state = steps.init_state(real.editor, optimizer, real.base_params, 0, real.mesh)
    run, params = ahead.abstract(config, tmp_path, jax.devices())

    def seen(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding.spec), tree)

    assert seen(run.base_params) == seen(real.base_params)
    assert seen(params) == seen(state.params)
    for size, train in ((4, True), (3, False)):
        widest = ahead.batch(run, size, train)
        drawn = steps.shard_batch(next(iter(real.task.batches("train", size, train))), real.mesh)
        assert jax.tree.structure(widest) == jax.tree.structure(drawn)
        pairs = zip(jax.tree.leaves(widest), jax.tree.leaves(drawn), strict=True)
        assert all(
            most.dtype == leaf.dtype
            and all(a >= b for a, b in zip(most.shape, leaf.shape, strict=True))
            for most, leaf in pairs
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EDITORS if name != "mend"])
def test_every_program_is_compiled_and_its_memory_counted(tmp_path, capsys, name):
    config = config_of(**fields_of(name))
    run, params = ahead.abstract(config, tmp_path, jax.devices())
    found = ahead.compile_all(config, run, params, gpus=True)
    assert list(found["programs"]) == ["train", "update", "edit", "evaluate", "generate"]
    groups = run.editor.groups(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params))
    learned = sum(
        leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape))
        for leaf, group in zip(*map(jax.tree.leaves, (params, groups)), strict=True)
        if group != "frozen"
    )
    train = found["programs"]["train"]
    assert train["held"] > 4 * learned  # what is learned, its mean gradient and two moments
    assert train["collectives"]["all-reduce"] > 0
    assert found["gib"] * ahead.GIB >= max(
        program["held"] + program["new"] for program in found["programs"].values()
    )
    assert found["fits"]
    assert ahead.verdict(found).endswith("fits one of 16 GB")
    assert capsys.readouterr().out.count("compiled in") == 5


def test_one_program_alone(tmp_path):
    config = config_of(**fields_of("serac"))
    run, params = ahead.abstract(config, tmp_path, jax.devices())
    assert list(ahead.compile_all(config, run, params, True, ["update"])["programs"]) == ["update"]
    with pytest.raises(UserError, match=r"--programs: 'x' is not one of train, update, edit"):
        ahead.compile_all(config, run, params, True, ["update", "x"])


def test_what_does_not_fit_is_said():
    found = {"device": "TPU v5 lite", "gib": 17.0, "room": 16, "fits": False}
    assert ahead.verdict(found) == "DOES NOT FIT: 17.0 GiB of 16 GiB a chip"
    assert "DOES NOT FIT" in ahead.verdict(found | {"device": "GPU", "room": 0})


def test_the_parts_of_one_collective_count_once():
    part = "%x = f32[8] all-gather({}), channel_id={}, dimensions={{0}}"
    text = "\n".join(
        [
            part.format("%a", 8),
            part.format("%b", 8),
            part.format("%c", 11),
            "%y = f32[] all-reduce-start(%d), channel_id=3",
        ]
    )
    assert ahead.collectives(text) == {"all-gather": 2, "all-reduce": 1}


def test_an_unknown_topology_says_what_to_do():
    with pytest.raises(UserError, match=r"pip install -r requirements-tpu\.txt"):
        ahead.chips("v0:1x1")
