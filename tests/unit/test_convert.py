"""Weights: every format in, strictly; Hugging Face folders out, which PyTorch reads with the same
logits."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax import serialization, traverse_util
from safetensors.numpy import load_file, save_file

from serac_jax import models
from serac_jax.core.batch import Tokens
from serac_jax.models import ModelNotFound, WeightError, convert
from serac_jax.models.networks import NETWORKS
from tests.conftest import MODELS

TOKENS = Tokens(
    jnp.array([[5, 6, 7, 1], [8, 9, 1, 0]]), jnp.array([[True] * 4, [True, True, True, False]])
)
LABELS = jnp.array([[3, 4, 1], [5, 1, 0]])


@pytest.fixture
def folder(tmp_path):
    """A writable copy of a tiny T5."""
    return shutil.copytree(MODELS / "t5-tiny", tmp_path / "t5-tiny")


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def logits(name, **options):
    model, params = models.load(str(name), **options)
    return np.asarray(model.apply(params, TOKENS, LABELS))


def test_every_format_gives_the_same_logits(folder):
    expected = logits(folder)
    tensors = load_file(folder / "model.safetensors")

    (folder / "model.safetensors").unlink()
    torch.save(
        {key: torch.tensor(array) for key, array in tensors.items()}, folder / "pytorch_model.bin"
    )
    assert np.array_equal(logits(folder), expected)
    (folder / "pytorch_model.bin").unlink()

    flax = {}
    for key, array in tensors.items():
        *path, leaf = key.split(".")
        embedding = path[-1] in ("shared", "relative_attention_bias")
        name = "embedding" if embedding else "weight" if "norm" in path[-1] else "kernel"
        flax[(*path, name)] = array.T if name == "kernel" else array
        assert leaf == "weight"
    (folder / "flax_model.msgpack").write_bytes(
        serialization.msgpack_serialize(traverse_util.unflatten_dict(flax))
    )
    assert np.array_equal(logits(folder), expected)
    (folder / "flax_model.msgpack").unlink()

    keys = sorted(tensors)
    parts = {
        "model-00001-of-00002.safetensors": keys[::2],
        "model-00002-of-00002.safetensors": keys[1::2],
    }
    for name, mine in parts.items():
        save_file({key: tensors[key] for key in mine}, folder / name)
    index = {"weight_map": {key: name for name, mine in parts.items() for key in mine}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert np.array_equal(logits(folder), expected)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        WeightError, match=r"names files that are not there: model-00002-of-00002.safetensors"
    ):
        logits(folder)


def test_half_precision_weights_are_read(folder):
    expected = logits(folder)
    rewrite(
        folder,
        lambda tensors: tensors.update(
            {key: array.astype(np.float16) for key, array in tensors.items()}
        ),
    )
    assert np.abs(logits(folder) - expected).max() < 0.05


def test_copies_of_a_tied_embedding_are_read_when_they_are_equal(folder):
    expected = logits(folder)
    rewrite(
        folder,
        lambda tensors: tensors.update(
            {
                "encoder.embed_tokens.weight": tensors["shared.weight"],
                "lm_head.weight": tensors["shared.weight"],
            }
        ),
    )
    assert np.array_equal(logits(folder), expected)
    rewrite(folder, lambda tensors: tensors.pop("shared.weight"))
    assert np.array_equal(logits(folder), expected)
    rewrite(
        folder, lambda tensors: tensors.update({"lm_head.weight": tensors["lm_head.weight"] + 1})
    )
    with pytest.raises(WeightError, match=r"'lm_head.weight' should be a copy"):
        logits(folder)


def test_a_missing_weight_is_named(folder):
    rewrite(folder, lambda tensors: tensors.pop("encoder.block.1.layer.1.DenseReluDense.wi.weight"))
    with pytest.raises(
        WeightError,
        match=r"1 weights are missing, among them encoder.block.1.layer.1.DenseReluDense.wi.weight",
    ):
        logits(folder)


def test_the_attributes_of_the_published_blenderbot_are_known_and_its_variants_refused(tmp_path):
    """Attributes as in the config.json of facebook/blenderbot_small-90M, which `transformers` no
    longer reads."""
    folder = shutil.copytree(MODELS / "blenderbot_small-tiny", tmp_path / "blenderbot")
    expected = logits(folder)
    config = json.loads((folder / "config.json").read_text())
    former = {
        "do_blenderbot_90_layernorm": True,
        "layernorm_variant": "xlm",
        "normalize_before": False,
        "normalize_embedding": True,
    }
    former |= {
        "add_bias_logits": False,
        "add_final_layer_norm": False,
        "static_position_embeddings": False,
        "extra_pos_embeddings": 0,
        "unk_token_id": 3,
    }
    (folder / "config.json").write_text(json.dumps(config | former))
    assert np.array_equal(logits(folder), expected)
    (folder / "config.json").write_text(json.dumps(config | {"normalize_before": True}))
    with pytest.raises(
        WeightError,
        match=(
            r"config.json sets normalize_before=True, which this network does not implement"
            r" \(default: False\)"
        ),
    ):
        logits(folder)
    (folder / "config.json").write_text(json.dumps(config | {"scale_embedding": True}))
    assert np.abs(logits(folder) - expected).max() > 0.1


@pytest.mark.slow
def test_the_output_bias_of_blenderbot_is_read_and_never_trained(tmp_path):
    folder = shutil.copytree(MODELS / "blenderbot_small-tiny", tmp_path / "blenderbot")
    expected = logits(folder)
    rewrite(
        folder,
        lambda tensors: tensors.update({"final_logits_bias": tensors["final_logits_bias"] + 1}),
    )
    assert np.allclose(logits(folder), expected + 1, atol=1e-4)
    model, params = models.load(str(folder))
    gradient = jax.grad(lambda params: jnp.square(model.apply(params, TOKENS, LABELS)).sum())(
        params
    )
    assert not gradient["output_bias"].any()
    assert gradient["shared"]["embedding"].any()


def test_an_extra_weight_is_named(folder):
    rewrite(folder, lambda tensors: tensors.update({"adapter.weight": np.zeros(3, np.float32)}))
    with pytest.raises(WeightError, match=r"'adapter.weight' is not part of this network"):
        logits(folder)


def test_a_weight_that_the_configuration_lacks_is_named(folder):
    rewrite(
        folder,
        lambda tensors: tensors.update(
            {"encoder.block.7.layer.0.layer_norm.weight": np.zeros(32, np.float32)}
        ),
    )
    with pytest.raises(
        WeightError,
        match=r"encoder.block.7.layer.0.layer_norm.weight.*which the configuration does not have",
    ):
        logits(folder)


def test_a_wrongly_shaped_weight_is_named_with_both_shapes(folder):
    name = "encoder.block.0.layer.1.DenseReluDense.wi.weight"
    rewrite(folder, lambda tensors: tensors.update({name: tensors[name][:-1]}))
    with pytest.raises(
        WeightError,
        match=r"DenseReluDense.wi.weight' has shape \(63, 32\), but config.json says \(64, 32\)",
    ):
        logits(folder)


def test_an_unknown_attribute_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rotary_dim": 8}))
    with pytest.raises(
        WeightError, match=r"config.json sets rotary_dim=8, which this network does not implement"
    ):
        logits(folder)


def test_a_folder_without_weights_says_what_it_looked_for(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightError, match=r"has no weights: expected one of model.safetensors, "):
        logits(folder)


def test_another_architecture_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bloom"}))
    supported = ", ".join(sorted(NETWORKS))
    with pytest.raises(
        WeightError, match=f"model_type 'bloom' is not supported; supported are {supported}"
    ):
        logits(folder)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(folder):
    rewrite(
        folder,
        lambda tensors: tensors.update({"shared.weight": tensors["shared.weight"][:200].copy()}),
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 200}))
    with pytest.raises(
        WeightError, match=r"the tokenizer has 300 tokens, the network only 200 embeddings"
    ):
        logits(folder)


def test_an_unknown_name_says_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(
        ModelNotFound, match=r"no model 'mini/nothing' is shipped; there are mini/base"
    ):
        models.load("mini/nothing")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ModelNotFound, match=r"the Hub cannot be reached. Give the path of a local copy"
    ):
        models.load("nobody/nothing")


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_early_bert_names_are_understood(tmp_path, prefix):
    folder = shutil.copytree(MODELS / "bert-tiny-cased", tmp_path / "bert")
    model, params = models.load(str(folder), output="head")
    expected = np.asarray(model.apply(params, TOKENS))

    def rename(tensors):
        for key in list(tensors):
            old = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            )
            tensors[
                prefix + old.removeprefix("bert.") if not old.startswith("classifier") else old
            ] = tensors.pop(key)
        tensors["cls.predictions.bias"] = np.zeros(420, np.float32)  # a head of another task

    rewrite(folder, rename)
    model, params = models.load(str(folder), output="head")
    assert np.array_equal(np.asarray(model.apply(params, TOKENS)), expected)


def test_a_head_may_be_fresh_only_where_that_is_asked_for(tmp_path):
    folder = shutil.copytree(MODELS / "distilbert-tiny-cased", tmp_path / "distilbert")
    rewrite(
        folder, lambda tensors: [tensors.pop(key) for key in list(tensors) if "classifier" in key]
    )
    with pytest.raises(WeightError, match=r"'classifier.bias' is missing"):
        models.load(str(folder), output="head")
    first, again = (
        models.load(str(folder), output="head", fresh=("head", "pre_head"), seed=3)[1]["head"][
            "kernel"
        ]
        for _ in range(2)
    )
    assert np.array_equal(first, again)
    assert first.shape == (32, 2)


def fact_checker(tmp_path, prefix):
    """The original's fact checker, its names under a prefix, and what PyTorch computes with it."""
    state = torch.load(MODELS / "FC_model.ckpt", weights_only=True)
    torch.save({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "checker.ckpt")
    theirs = transformers.BertForSequenceClassification.from_pretrained(
        MODELS / "bert-tiny-uncased", num_labels=1
    ).eval()
    theirs.load_state_dict(
        {name.replace("model.", "bert.", 1): tensor for name, tensor in state.items()}
    )
    return tmp_path / "checker.ckpt", theirs


@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_single_logit_of_a_checkpoint_is_that_of_class_1(tmp_path, prefix):
    file, theirs = fact_checker(tmp_path, prefix)
    model, params = models.load(
        str(MODELS / "bert-tiny-uncased"), output="head", checkpoint=str(file)
    )
    with torch.no_grad():
        expected = theirs(
            torch.tensor(np.asarray(TOKENS.ids)), torch.tensor(np.asarray(TOKENS.mask)).long()
        ).logits.numpy()
    ours = np.asarray(model.apply(params, TOKENS))
    assert ours.shape == (2, 1, 2)
    assert np.array_equal(ours[..., 0], np.zeros((2, 1)))
    assert np.abs(ours[..., 1] - expected).max() < 1e-6 * np.abs(expected).max()
    models.save(tmp_path / "folder", model, params)
    again, loaded = models.load(str(tmp_path / "folder"), output="head")
    assert np.array_equal(again.apply(loaded, TOKENS), ours)
    assert transformers.AutoConfig.from_pretrained(tmp_path / "folder").num_labels == 1


def test_a_network_that_cannot_give_what_is_needed_is_refused(tmp_path):
    with pytest.raises(
        WeightError,
        match=(
            r"bert-tiny-cased: a model that answers in words is needed here, but a network of"
            r" model_type 'bert' gives"
        ),
    ):
        models.load(str(MODELS / "bert-tiny-cased"))
    with pytest.raises(WeightError, match=r"t5-tiny: a classifier is needed here"):
        models.load(str(MODELS / "t5-tiny"), output="head")
    with pytest.raises(
        WeightError, match=r"bert-tiny-uncased: the weight 'classifier.bias' is missing"
    ):
        models.load(str(MODELS / "bert-tiny-uncased"), output="head")
    with pytest.raises(ModelNotFound, match=r"'nowhere.ckpt' is not a file of weights"):
        models.load(str(MODELS / "bert-tiny-uncased"), output="head", checkpoint="nowhere.ckpt")
    torch.save([torch.ones(2)], tmp_path / "list.ckpt")
    with pytest.raises(WeightError, match=r"list.ckpt does not hold weights by name"):
        models.load(
            str(MODELS / "bert-tiny-uncased"), output="head", checkpoint=str(tmp_path / "list.ckpt")
        )


@pytest.mark.parametrize(
    ("name", "output", "kind"),
    [
        ("t5-tiny", "", transformers.AutoModelForSeq2SeqLM),
        ("t5v11-tiny", "", transformers.AutoModelForSeq2SeqLM),
        ("blenderbot_small-tiny", "", transformers.AutoModelForSeq2SeqLM),
        ("bert-tiny-cased", "head", transformers.AutoModelForSequenceClassification),
        ("distilbert-tiny-cased", "head", transformers.AutoModelForSequenceClassification),
        ("distilbert-tiny-cased", "cls", transformers.AutoModel),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pytorch_reads_what_was_written(tmp_path, name, output, kind):
    model, params = models.load(str(MODELS / name), output=output)
    leaves = {path: leaf * 1.1 for path, leaf in convert.flatten(params).items()}  # as if trained
    params = convert.unflatten(leaves)
    models.save(tmp_path / "out", model, params)
    ours = np.asarray(model.apply(params, TOKENS, LABELS))

    theirs = kind.from_pretrained(tmp_path / "out").eval()
    inputs = {
        "input_ids": torch.tensor(np.asarray(TOKENS.ids)),
        "attention_mask": torch.tensor(np.asarray(TOKENS.mask)).long(),
    }
    if kind is transformers.AutoModelForSeq2SeqLM:
        inputs["labels"] = torch.tensor(np.asarray(LABELS)).long()
    with torch.no_grad():
        out = theirs(**inputs)
    expected = out.last_hidden_state[:, 0] if output == "cls" else out.logits
    assert np.abs(ours.reshape(expected.shape) - expected.numpy()).max() < 1e-5 * np.abs(ours).max()
    again = models.load(str(tmp_path / "out"), output=output)[1]
    assert all(np.array_equal(leaf, leaves[path]) for path, leaf in convert.flatten(again).items())
