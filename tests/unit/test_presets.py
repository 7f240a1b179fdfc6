"""Presets, fields that a command line changes, and configs of earlier versions."""

import json

import jax
import numpy as np
import pytest

from serac_jax import presets
from serac_jax.core.errors import UserError
from serac_jax.training import experiment, overrides, run_folder, sections, steps
from tests.tiny import config_of, tiny


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zsre_repp", "did you mean zsre_rep"),
        ("zsre_rep:huge", "no variant :huge"),
        ("foo", "presets are zsre_rep"),
        ("nofile.py", "there is no config file nofile.py"),
    ],
)
def test_an_unknown_preset_is_one_line(name, message):
    with pytest.raises(UserError, match=message) as error:
        presets.load(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("base", ["llama3_8b", "qwen3_8b", "gemma3_4b", "gptj_6b", "smollm2_1b7"])
def test_a_base_model_is_a_variant_of_a_preset(base):
    config, usual = presets.preset(f"zsre_gtn:{base}"), presets.preset("zsre_gtn")
    sections.check(config)
    assert config.base.param_dtype == "bfloat16"
    assert (config.editor, config.train.lr_lr) == (usual.editor, usual.train.lr_lr)


def test_fields_are_read_as_their_types():
    arguments = (
        "--train.lr=1e-4 --config.mesh.data=-1 --serac.cosine --inner=('a',) --serac.freeze=2"
    )
    assert overrides.parse(arguments.split()) == {
        "train.lr": 1e-4,
        "mesh.data": -1,
        "serac.cosine": True,
        "inner": ("a",),
        "serac.freeze": 2,
    }


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--train.lrr=1", "no option --train.lrr; did you mean train.lr"),
        ("--train.lr=fast", "expected a value of type float"),
        ("--train.lr", "has no value"),
        ("--serac.cosine=maybe", "expected true or false"),
        ("train.lr=1", "options look like --NAME=VALUE"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(argument, message):
    with pytest.raises(UserError, match=message):
        overrides.parse([argument])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.lr", 0.0),
        ("train.lr", float("nan")),
        ("train.lr", float("inf")),
        ("train.clip", 0.0),
        ("train.steps", -1),
        ("train.dropout", 1.0),
        ("train.edits", 0),
        ("eval.resamples", 0),
        ("mesh.fsdp", 0),
        ("serac.pool", "max"),
        ("base.dtype", "float16"),
        ("data.hard_negative_rate", 1.5),
        ("train.lr", -1.0),
        ("train.steps", 2**31),
        ("seed", 10**4000),
        ("train.dropout", 2.0),
        ("serac.heads", 0),
        ("serac.freeze", -1),
        ("finetune.rank", 0),
        ("inner", ("(",)),
        ("inner", (1, 2)),
        ("data.held_out_kinds", ("hops",)),
    ],
)
def test_values_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(UserError, match=rf"^{field}=.*: expected ") as error:
        overrides.apply(presets.preset("zsre_rep:mini"), {field: value})
    assert len(str(error.value)) < 300


def test_every_number_of_a_config_has_a_range():
    for name, field in sections.FIELDS.items():
        kind = field.kind or type(field.default)
        assert field.rule or kind not in (int, float), name


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("return 3 +", r":4: SyntaxError"),
        ("return 3", "defines no function get_config that gives a config"),
        ("c.train.lr = 'x'; return c", r":4: TypeError: .*lr"),
        ("return c.train.lrr", r":4: AttributeError: .*lrr"),
        ("import nosuchmodule", r":4: ModuleNotFoundError: .*nosuchmodule"),
        ("c.trian = 1; return c", r"no field trian"),
        ("c.train.lrr = 1; return c", r"no field train\.lrr; did you mean train\.lr"),
        ("del c.train['lr']; return c", r"lacks the field train\.lr"),
        ("del c['train']; return c", r"lacks the field train\.steps"),
        ("c.train.edits = -5; return c", r"train\.edits=-5: expected an integer from 1"),
        ("c.mesh.data = 0; return c", r"mesh\.data=0: expected a number of devices, or -1"),
        ("del c['seed']; c.seed = 'x'; return c", r"seed='x': expected an integer from 0"),
        ("del c['seed']; c.seed = True; return c", r"seed=True: expected an integer from 0"),
    ],
)
def test_a_config_file_that_cannot_be_used_is_one_line(tmp_path, lines, message):
    file = tmp_path / "own.py"
    start = (
        "from serac_jax import presets\ndef get_config():\n  c = presets.preset('zsre_rep:mini')"
    )
    file.write_text(f"{start}\n  {lines}\n")
    with pytest.raises(UserError, match=message) as error:
        overrides.apply(presets.load(str(file)), {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "5", '{"train": 5}', '{"data": {"text_widths": 1}}', "\ud800", "[" * 9**5],
)
def test_a_damaged_config_of_a_run_is_one_line(tmp_path, content):
    file = tmp_path / "config.json"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    config = presets.preset("zsre_rep:mini")
    for use in (
        lambda: run_folder.config_of(tmp_path, {}),
        lambda: run_folder.write_config(tmp_path, config),
    ):
        with pytest.raises(UserError, match=r"config\.json") as error:
            use()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", "x"), ("lr", float("nan")), ("edits", [1]), ("steps", 10**40), ("lr", 10**400)],
    ids=range(5),
)
def test_a_damaged_field_of_a_run_is_named(tmp_path, field, value):
    saved = json.loads(presets.preset("zsre_rep:mini").to_json())
    saved["train"][field] = value
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=rf"config\.json: .*({field}|int too large)"):
        run_folder.config_of(tmp_path, {})


def test_a_damaged_line_of_the_log_is_left_out(tmp_path):
    """The last one, as after a full disk, or any."""
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1, "loss": 2}\n\xff{"st\n{"step": 2}\n{"step": 3, "los')
    with pytest.warns(UserWarning, match=r"metrics\.jsonl: left out 2 damaged lines"):
        log = run_folder.JsonLines(file, 3)
    log.write(4, {"loss": 0.5})
    assert file.read_text() == '{"step": 1, "loss": 2}\n{"step": 2}\n{"step": 4, "loss": 0.5}\n'
    run_folder.JsonLines(file, 1)
    assert file.read_text() == '{"step": 1, "loss": 2}\n'


def test_a_run_of_an_earlier_version_opens(tmp_path, monkeypatch):
    """Fields that are new get their default, and those that nothing reads any more are dropped."""
    saved = json.loads(presets.preset("zsre_rep:mini").to_json())
    del saved["serac"]["heads"]
    saved["data"]["colour"] = [1, 2]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"'data\.colour', which this version does not know"):
        run_folder.config_of(tmp_path, {})
    monkeypatch.setattr(sections, "RETIRED", sections.RETIRED | {"data.colour"})
    assert run_folder.config_of(tmp_path, {"eval.edits": 3}).serac.heads == 1


def test_two_trainers_do_not_share_a_folder(tmp_path):
    with (
        run_folder.claimed(tmp_path),
        pytest.raises(UserError, match="another program trains in"),
        run_folder.claimed(tmp_path),
    ):
        pass
    with run_folder.claimed(tmp_path):
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.slow
def test_dropout_differs_between_steps_and_not_between_repetitions(tmp_path):
    """The key of a step is a function of seed and step (`training.steps.make_train_step`)."""
    config = config_of(**tiny() | {"train.dropout": 0.5, "train.edits": 2})
    run = experiment.build(config, tmp_path)
    optimizer = steps.make_optimizer(config.train, run.editor)
    batch = steps.shard_batch(next(iter(run.task.batches("train", 2, True))), run.mesh)

    def loss(number):
        state = steps.init_state(run.editor, optimizer, run.base_params, 0, run.mesh)
        state = state._replace(step=jax.device_put(np.int32(number), state.step.sharding))
        step = made.setdefault("step", steps.make_train_step(run.editor, state, 1, 0))
        value, weight = step(state, run.base_params, batch)[1]["loss"]
        return float(value / weight)

    made = {}
    assert loss(3) == loss(3)
    assert loss(3) != loss(4)
