"""Low-rank adapters: as interventions, merged, by rows, and in files of the `peft` package."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from serac_jax import models
from serac_jax.core.batch import Examples, Tokens
from serac_jax.core.errors import UserError
from serac_jax.models import adapters
from serac_jax.models.adapters import Dropped
from tests.conftest import MODELS

RANK = 3
IDS = np.array([[29, 42, 17, 3, 94, 97, 25], [13, 19, 0, 0, 0, 0, 0]])
LAYERS = (r"block_\d+/attention/(q|v)", r"block_1/mlp/.*")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    config = transformers.LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((MODELS / "t5-tiny" / name).read_bytes())
    return models.load(str(folder))


@pytest.fixture(scope="module")
def adapter(llama):
    """An adapter that changes something."""
    drawn = adapters.init(jax.random.key(0), llama[1], LAYERS, RANK)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype("f4"), drawn)


def logits(model, params, change=None):
    tokens = Tokens(jnp.asarray(IDS, jnp.int32), jnp.asarray(IDS > 0))
    blank = jnp.zeros((2, 1), jnp.int32)
    asked = Examples(tokens, tokens, tokens, blank, jnp.ones((2, 1)))
    call = jax.jit(lambda params, change: model.logits(params, asked, interventions=change))
    return np.asarray(call(params, change or {}))[:, 0]


def test_a_new_adapter_changes_nothing(llama):
    model, params = llama
    new = adapters.init(jax.random.key(0), params, LAYERS, RANK)
    change = adapters.interventions(new)
    assert np.allclose(logits(model, params, change), logits(model, params), atol=1e-6)
    assert sorted(change) == [
        *(f"block_0/attention/{name}" for name in "qv"),
        *(f"block_1/attention/{name}" for name in "qv"),
        *(f"block_1/mlp/{name}" for name in ("wi_0", "wi_1", "wo")),
    ]


def test_merged_kernels_act_as_interventions_do(llama, adapter):
    model, params = llama
    changed = logits(model, params, adapters.interventions(adapter))
    assert np.abs(changed - logits(model, params)).max() > 1e-3
    assert np.allclose(logits(model, adapters.merged(params, adapter)), changed, atol=1e-5)


def test_rows_have_the_adapter_or_not(llama, adapter):
    model, params = llama
    mixed = logits(model, params, adapters.interventions(adapter, jnp.array([0.0, 1.0])))
    assert np.allclose(mixed[0], logits(model, params)[0], atol=1e-6)
    assert np.allclose(
        mixed[1], logits(model, params, adapters.interventions(adapter))[1], atol=1e-6
    )


def test_dropout_leaves_the_mean_as_it_is(llama, adapter):
    change = adapters.interventions(adapter, dropout=Dropped(jax.random.key(1), 0.25))
    layer = change["block_0/attention/q"]
    x, y = jnp.ones((4000, 32)), jnp.zeros((4000, 32))
    plain = layer._replace(dropped=None)
    assert np.allclose(layer(x, y).mean(0), plain(x, y).mean(0), atol=0.02)
    assert not np.allclose(layer(x, y)[0], layer(x, y)[1])


def test_a_saved_adapter_is_read_again(llama, adapter, tmp_path):
    """In bfloat16, which rounds to 8 bits."""
    model, params = llama
    adapters.write(tmp_path, model, adapter, "someone/model")
    again = adapters.read(tmp_path, model, params)
    for one, other in zip(jax.tree.leaves(adapter), jax.tree.leaves(again), strict=True):
        assert np.allclose(one, other, rtol=2**-8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_peft_reads_what_is_written(llama, adapter, tmp_path):
    import peft  # seconds, for two tests

    model, params = llama
    adapters.write(tmp_path, model, adapter, str(model.folder))
    theirs = transformers.LlamaForCausalLM.from_pretrained(model.folder)
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path).eval()
    ours = logits(model, params, adapters.interventions(adapters.read(tmp_path, model, params)))
    for row in range(2):
        ids = torch.tensor(IDS[row][IDS[row] > 0])[None]
        with torch.no_grad():
            expected = theirs(ids).logits[0, -1].numpy()
        assert np.allclose(ours[row], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_what_peft_writes_is_read(llama, tmp_path):
    """With an alpha that is not the rank."""
    import peft  # seconds, for two tests

    model, params = llama
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    theirs = peft.get_peft_model(
        transformers.LlamaForCausalLM.from_pretrained(model.folder), config
    ).eval()
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, 0, 0.1)
    theirs.save_pretrained(tmp_path)
    read = adapters.read(tmp_path, model, params)
    ours = logits(model, params, adapters.interventions(read))
    for row in range(2):
        ids = torch.tensor(IDS[row][IDS[row] > 0])[None]
        with torch.no_grad():
            expected = theirs(ids).logits[0, -1].numpy()
        assert np.allclose(ours[row], expected, atol=1e-4)


def test_bad_adapters_are_refused_in_one_line(llama, adapter, tmp_path):
    model, params = llama
    adapters.write(tmp_path, model, adapter, "someone/model")
    file, config = tmp_path / adapters.WEIGHTS, tmp_path / adapters.CONFIG
    good, fields = load_file(file), json.loads(config.read_text())

    def refused(tensors=None, **changes):
        save_file(tensors or good, file)
        config.write_text(json.dumps(fields | changes))
        with pytest.raises(UserError) as error:
            adapters.read(tmp_path, model, params)
        assert "\n" not in str(error.value)
        return str(error.value)

    name = next(iter(good))
    assert "use_dora" in refused(use_dora=True)
    assert "r and lora_alpha" in refused(r="many")
    assert "another model" in refused(r=7)
    assert "not part of an adapter" in refused({"base_model.model.x.lora_A.weight": good[name]})
    assert "half" in refused({name: good[name]})
    broken = good[name].copy()
    broken[0, 0] = np.nan
    assert "not finite" in refused(good | {name: broken})
    with pytest.raises(UserError, match="matches no layer"):
        adapters.init(jax.random.key(0), params, ("block_9/.*",), 2)
