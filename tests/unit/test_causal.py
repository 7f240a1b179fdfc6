"""Causal networks: equal to PyTorch `transformers` in a full pass, in prefill and decode, and in
greedy answers; rows of different lengths decode together."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from serac_jax import models
from serac_jax.core import sharding
from serac_jax.core.batch import Examples, Tokens
from serac_jax.editors.interventions import LowRank
from serac_jax.editors.protocol import Thresholds
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router
from serac_jax.editors.serac.serac_editor import serac
from serac_jax.models import WeightError, causal, convert
from serac_jax.models.generate import generate
from serac_jax.models.token_sampling import Sampling, draw
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query, TextBatch
from tests.causal_models import COMMON, KINDS, LLAMA3, add_tokenizer, random_model
from tests.conftest import MODELS
from tests.tiers import fast

STEPS = 6
IDS = np.array([[29, 42, 17, 3, 94, 97, 25], [13, 19, 0, 0, 0, 0, 0], [39, 61, 62, 60, 13, 0, 0]])
TOKENS = Tokens(jnp.asarray(IDS, jnp.int32), jnp.asarray(IDS > 0))
CHOSEN = ["llama", "llama 3", "mistral", "qwen2", "qwen3", "gemma3", "gpt2", "gptj"]


@pytest.fixture(params=fast(KINDS, CHOSEN), scope="module")
def pair(request, tmp_path_factory):
    """Our model and theirs, with the same random weights."""
    folder = tmp_path_factory.mktemp("model")
    theirs = random_model(request.param, folder)
    model, params = models.load(str(folder))
    return model, params, theirs


def logits_of(theirs, row):
    with torch.no_grad():
        return theirs(torch.tensor(row)[None]).logits[0].numpy()


def close(ours, expected):
    return np.abs(np.asarray(ours) - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("pair", fast(KINDS, ["llama", "gemma3"]), indirect=True)
def test_a_gradient_keeps_nothing_as_large_as_the_square_of_a_text(pair):
    model, params, _ = pair
    length, heads = 200, 4
    read = Tokens(jnp.full((1, length), 5), jnp.ones((1, length), bool))
    labels = jnp.full((1, STEPS), 7)
    examples = Examples(read, read, read, labels, jnp.ones(labels.shape))

    def kept(params):
        return jax.vjp(lambda params: model.logits(params, examples), params)[1]

    sizes = [leaf.size for leaf in jax.tree.leaves(jax.eval_shape(kept, params))]
    assert max(sizes) < heads * length**2


@pytest.mark.parametrize("pair", fast(KINDS, ["llama", "gemma3"]), indirect=True)
def test_logits_of_labels_equal_those_of_pytorch(pair):
    """Input and labels are one sequence; with `at`, only the chosen positions are computed."""
    model, params, theirs = pair
    labels = np.random.default_rng(0).integers(2, 300, (3, STEPS))
    nothing = Tokens(jnp.zeros((3, 0), jnp.int32), jnp.zeros((3, 0), bool))
    examples = Examples(
        inputs=TOKENS,
        scope=nothing,
        prefix=nothing,
        labels=jnp.asarray(labels, jnp.int32),
        weight=jnp.ones((3, STEPS)),
    )
    ours = model.logits(params, examples)
    for row in range(3):
        asked = IDS[row][IDS[row] > 0]
        expected = logits_of(theirs, np.concatenate([asked, labels[row][:-1]]))
        assert close(ours[row], expected[len(asked) - 1 :])
    at = np.array([0, 1, 2, STEPS, 2 * STEPS, 2 * STEPS + 1, 3 * STEPS])
    chosen = model.logits(params, examples._replace(at=jnp.asarray(at)))
    assert close(chosen[:-1, 0], np.asarray(ours).reshape(3 * STEPS, -1)[at[:-1]])


@pytest.mark.parametrize("pair", fast(KINDS, ["llama", "gemma3"]), indirect=True)
def test_prefill_and_decode_equal_a_full_pass(pair):
    model, params, _ = pair
    labels = jnp.asarray(np.random.default_rng(1).integers(2, 300, (3, STEPS)), jnp.int32)
    adapter = LowRank(0.1 * jnp.ones((48, 1)), jnp.ones((1, 32)))
    full, prefill, decode = (
        jax.jit(function, **how)
        for function, how in (
            (lambda *args: model.apply(params, *args[:2], interventions=args[2]), {}),
            (partial(model.prefill, params), {"static_argnums": 1}),
            (partial(model.decode, params), {}),
        )
    )
    for changes in ({}, {"block_1/mlp/wo": adapter}):
        expected = full(TOKENS, labels, changes)
        cache, logits, _ = prefill(TOKENS, STEPS, changes)
        assert cache.length.tolist() == [7, 2, 5]
        for at in range(STEPS):
            assert close(logits, np.asarray(expected[:, at]))
            if at + 1 < STEPS:
                cache, logits = decode(cache, labels[:, at], changes)


@pytest.mark.slow
@pytest.mark.parametrize("pair", KINDS, indirect=True)
def test_what_all_prompts_begin_with_is_read_once(pair):
    """Also with a change of a layer, and where the prefix is as long as a window."""
    model, params, _ = pair
    before = np.array([[7, 91, 12, 55, 3, 8]], np.int32)
    whole = np.concatenate([np.repeat(before, 3, 0), IDS], 1)
    tokens = Tokens(jnp.asarray(whole, jnp.int32), jnp.asarray(whole > 0))
    adapter = LowRank(0.1 * jnp.ones((48, 1)), jnp.ones((1, 32)))
    for changes in ({}, {"block_1/mlp/wo": adapter}):
        prefix = model.prefix(params, jnp.asarray(before), changes)
        one = model.prefill(params, tokens, STEPS, changes)
        other = model.prefill(params, TOKENS, STEPS, changes, prefix)
        assert one[0].length.tolist() == other[0].length.tolist() == [13, 8, 11]
        assert close(other[1], np.asarray(one[1]))
        said = [
            generate(model, params, read, steps=STEPS, interventions=changes, prefix=held)
            for read, held in ((tokens, ()), (TOKENS, prefix))
        ]
        assert np.array_equal(*said)


def test_greedy_answers_equal_those_of_pytorch(pair):
    model, params, theirs = pair
    ours = jax.jit(lambda params: generate(model, params, TOKENS, steps=STEPS))(params)
    for row in range(3):
        asked = torch.tensor(IDS[row][IDS[row] > 0])[None]
        said = theirs.generate(
            asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=STEPS,
            do_sample=False,
            pad_token_id=0,
        )[0, asked.shape[1] :].tolist()
        assert ours[row].tolist() == said + [0] * (STEPS - len(said))


def test_saved_weights_are_those_of_pytorch(pair, tmp_path):
    model, params, theirs = pair
    models.save(tmp_path / "saved", model, params)
    again, report = type(theirs).from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(report.values())
    again.eval()
    assert np.array_equal(logits_of(again, IDS[0]), logits_of(theirs, IDS[0]))
    reloaded = models.load(str(tmp_path / "saved"))[1]
    before = convert.flatten(params)
    assert all(
        np.array_equal(leaf, before[path]) for path, leaf in convert.flatten(reloaded).items()
    )


@pytest.mark.parametrize("pair", fast(KINDS, ["llama"]), indirect=True)
def test_sampled_answers_are_drawn_from_the_distribution_of_pytorch(pair):
    """Each token with the key of its position, from the logits that PyTorch gives."""
    model, params, theirs = pair
    how, key = Sampling(temperature=0.7, top_k=40, top_p=0.9), jax.random.key(5)
    ours = generate(model, params, TOKENS, steps=STEPS, sampling=how, key=key)
    rows = [row[row > 0].tolist() for row in IDS]
    for at in range(STEPS):
        logits = jnp.stack([logits_of(theirs, row)[-1] for row in rows])
        drawn = draw(jax.random.fold_in(key, at), logits, how)
        for number, token in enumerate(drawn.tolist()):
            ended = ours[number, :at].tolist().count(1) > 0
            assert ours[number, at] == (0 if ended else token)
            rows[number].append(token)


@pytest.fixture(scope="module")
def multimodal(tmp_path_factory):
    """A folder of a random Gemma 3 that reads images, too, as on the Hub."""
    folder = tmp_path_factory.mktemp("gemma")
    text = {key: value for key, value in COMMON.items() if key != "eos_token_id"}
    config = transformers.Gemma3Config(
        text_config=text | KINDS["gemma3"][1],
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        image_token_index=300,
        eos_token_id=[1, 5],
    )
    torch.manual_seed(0)
    theirs = transformers.Gemma3ForConditionalGeneration(config).eval()
    theirs.save_pretrained(folder)
    add_tokenizer(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 7]}))
    return folder, theirs


def test_the_text_part_of_a_model_of_text_and_images_is_read(multimodal, tmp_path):
    folder, theirs = multimodal
    model, params = models.load(str(folder))
    assert model.ends == (1, 7)  # of generation_config.json, as in transformers
    ours = model.apply(params, TOKENS, jnp.zeros((3, 1), jnp.int32))
    assert close(ours[0, 0], logits_of(theirs, IDS[0])[-1])
    models.save(tmp_path / "text", model, params)
    again = transformers.Gemma3ForCausalLM.from_pretrained(tmp_path / "text").eval()
    assert close(ours[0, 0], logits_of(again, IDS[0])[-1])


def test_weights_can_be_held_in_bfloat16(tmp_path):
    theirs = random_model("llama", tmp_path / "model")
    theirs.to(torch.bfloat16).save_pretrained(tmp_path / "model")
    model, params = models.load(str(tmp_path / "model"), param_dtype=jnp.bfloat16)
    whole = models.load(str(tmp_path / "model"))[1]
    leaves = convert.flatten(params)
    assert {leaf.dtype for leaf in leaves.values()} == {jnp.dtype("bfloat16")}
    assert all(
        np.array_equal(leaf.astype(jnp.float32), leaves[path].astype(jnp.float32))
        for path, leaf in convert.flatten(whole).items()
    )
    labels = jnp.zeros((3, 1), jnp.int32)
    assert close(model.apply(params, TOKENS, labels), model.apply(whole, TOKENS, labels))
    models.save(tmp_path / "saved", model, params)
    kept = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert kept.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "llama",
            {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}},
            "rotary positions of type 'longrope', which is not implemented; implemented are",
        ),
        (
            "llama",
            {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            r"sets partial_rotary_factor=0.5 for rotary positions of type 'default'",
        ),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}},
            "type 'linear', but rope_parameters has no 'factor'",
        ),
        ("qwen3", {"eos_token_id": None}, "config.json names no eos_token_id"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "sets final_logit_softcapping=30.0"),
        (
            "gemma3",
            {"layer_types": ["chunked_attention", "full_attention"]},
            "lists 'chunked_attention' among its layer_types",
        ),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ("gptj", {"tie_word_embeddings": True}, "sets tie_word_embeddings=True"),
        ("mistral", {"hidden_act": "xielu"}, "activation function 'xielu'"),
    ],
)
def test_what_is_not_implemented_is_refused(tmp_path, kind, changes, message):
    random_model(kind, tmp_path)
    file = tmp_path / "config.json"
    (tmp_path / "generation_config.json").unlink()
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(WeightError, match=message):
        models.load(str(tmp_path))


# config.json as published, without what changes no shape.
PUBLISHED = {
    "Llama 3.1 8B": (
        {
            "model_type": "llama",
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_hidden_layers": 32,
            "rope_theta": 5e5,
            "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 8192},
            "max_position_embeddings": 131072,
        },
        8_030_261_248,
    ),
    "Qwen3 8B": (
        {
            "model_type": "qwen3",
            "vocab_size": 151936,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_hidden_layers": 36,
            "head_dim": 128,
            "sliding_window": None,
            "eos_token_id": 151645,
        },
        8_190_735_360,
    ),
    "Gemma 3 4B": (
        {
            "model_type": "gemma3",
            "eos_token_id": [1, 106],
            "text_config": {
                "model_type": "gemma3_text",
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 1024,
            },
            "vision_config": {"model_type": "siglip_vision_model"},
        },
        3_880_263_168,
    ),
    "GPT-J 6B": ({"model_type": "gptj", "rotary": True}, 6_050_882_784),
    "GPT-2": ({"model_type": "gpt2", "n_ctx": 1024}, 124_439_808),
}


@pytest.mark.parametrize("name", fast(PUBLISHED, ["GPT-2"]))
def test_published_configurations_have_as_many_weights_as_they_should(tmp_path, name):
    """And every weight can be split over eight devices."""
    config, count = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    add_tokenizer(tmp_path)
    model = models.outline(
        name, tmp_path, output="", labels=0, dropout=0.0, dtype=jnp.bfloat16, remat=False
    )
    leaves = models.abstract(model.module, jnp.bfloat16)
    assert sum(leaf.size for leaf in leaves.values()) == count
    mesh = sharding.make_mesh(data=1, model=8)
    placed = [sharding.checked_spec(path, leaf.shape, mesh) for path, leaf in leaves.items()]
    assert sum("model" in spec for spec in placed) >= 4 * model.module.config.layers


def test_layers_that_differ_in_their_weights_alone_are_traced_once(tmp_path, monkeypatch):
    random_model("llama", tmp_path)
    model, params = models.load(str(tmp_path))
    layers, traced = causal.Block.layers, []
    monkeypatch.setattr(
        causal.Block, "layers", lambda self, *args: traced.append(self) or layers(self, *args)
    )
    jax.eval_shape(lambda params: model.start(params, TOKENS, 1)[0], params)
    assert model.module.config.layers > len(traced) == 1


def test_a_text_longer_than_the_positions_is_refused(tmp_path):
    random_model("gpt2", tmp_path)
    model, params = models.load(str(tmp_path))
    with pytest.raises(
        WeightError, match="padded to 519 tokens is longer than the 512 positions of the network"
    ):
        generate(model, params, TOKENS, steps=512)


@pytest.mark.parametrize("pair", fast(KINDS, ["llama"]), indirect=True)
@pytest.mark.parametrize("reads", fast(["counterfactual", "base"], []))
def test_serac_edits_a_causal_model(pair, reads):
    """What `generate` says is the argmax of `apply`, token by token; an edit is read as an earlier
    turn of the template, and a question that is not routed is read alone."""
    model, params, _ = pair
    assert model.network.template == "question_answer"
    classifier, scope_params = models.load(str(MODELS / "distilbert-tiny-cased"), output="cls")
    encode = Encoder(
        model.tokenizer, classifier.tokenizer, (32,), (12,), template=model.network.template
    )
    other = jax.tree.map(lambda leaf: 0.9 * leaf, params) if reads == "counterfactual" else None
    reader = Reader(model, encode.form.lead)
    editor = serac(
        Router(scopes.embedding(classifier), Thresholds(0.999, 0.999)),
        scope_params,
        reader,
        reader if other else None,
        other,
        Options(),
    )
    edits = [Query("Where is it?", "Rome"), Query("Who was she?", "a nun")]
    asked = [Query("Who was she?", "a nun"), Query("When did the long war end?", "in May")]
    batch = encode(TextBatch(edits, asked, [1, 0], edits, [0, 1]))
    learned = editor.init(jax.random.key(0), params)
    edited = editor.edit(learned, editor.start(learned, params, batch.edits), batch.edits)
    queries = batch.inside
    assert editor.route(learned, edited, queries).hit.tolist() == [True, False]

    said = editor.generate(learned, edited, queries, STEPS)
    chosen = editor.apply(learned, edited, queries._replace(labels=said)).argmax(-1)
    for row in range(2):
        length = int((said[row] != 0).sum())
        assert length
        assert said[row, :length].tolist() == chosen[row, :length].tolist()

    turns = ([(edits[1].question, edits[1].answer)], [])
    for row, (weights, before) in enumerate(zip((other or params, params), turns, strict=True)):
        ids = jnp.array([encode.form.conversation(before, asked[row].question, 32)])
        alone = generate(model, weights, Tokens(ids, jnp.ones(ids.shape, bool)), steps=STEPS)
        assert said[row].tolist() == alone[0].tolist()
