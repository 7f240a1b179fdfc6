"""A causal network: equal to PyTorch `transformers` in a full pass, in prefill and decode, and in
greedy answers; rows of different lengths decode together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from serac_jax import models
from serac_jax.core.batch import Examples, Tokens
from serac_jax.editors.interventions import LowRank
from serac_jax.editors.protocol import Thresholds
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router
from serac_jax.editors.serac.serac_editor import serac
from serac_jax.models import convert
from serac_jax.models.generate import generate
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query, TextBatch
from tests.conftest import MODELS

STEPS = 6
IDS = np.array([[29, 42, 17, 3, 94, 97, 25], [13, 19, 0, 0, 0, 0, 0], [39, 61, 62, 60, 13, 0, 0]])
TOKENS = Tokens(jnp.asarray(IDS, jnp.int32), jnp.asarray(IDS > 0))
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
KINDS = {
    "tied": {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 1e5}},
    "untied": {"num_key_value_heads": 4},
    "llama3": {
        "head_dim": 16,
        "rope_parameters": LLAMA3 | {"rope_theta": 500.0, "original_max_position_embeddings": 16},
    },
}


@pytest.fixture(params=KINDS, scope="module")
def pair(request, tmp_path_factory):
    """Our model and theirs, with the same random weights."""
    fields = {"num_key_value_heads": 2, "eos_token_id": 1, "max_position_embeddings": 512}
    fields |= KINDS[request.param]
    rope = {"rope_type": "default", "rope_theta": 10000.0} | fields.pop("rope_parameters", {})
    config = transformers.LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        rope_parameters=rope,
        **fields,
    )
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, 0.0 if parameter.ndim > 1 else 1.0, 0.3)
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((MODELS / "t5-tiny" / name).read_bytes())
    model, params = models.load(str(folder))
    return model, params, theirs


def logits_of(theirs, row):
    with torch.no_grad():
        return theirs(torch.tensor(row)[None]).logits[0].numpy()


def close(ours, expected):
    return np.abs(np.asarray(ours) - expected).max() < 2e-5 * np.abs(expected).max()


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
    at = jnp.array([0, 3, STEPS, 2 * STEPS + 1, 3 * STEPS])
    chosen = model.logits(params, examples._replace(at=at))
    assert close(chosen[:4, 0], np.asarray(ours).reshape(3 * STEPS, -1)[np.asarray(at[:4])])


def test_prefill_and_decode_equal_a_full_pass(pair):
    model, params, _ = pair
    labels = jnp.asarray(np.random.default_rng(1).integers(2, 300, (3, STEPS)), jnp.int32)
    adapter = LowRank(0.1 * jnp.ones((48, 1)), jnp.ones((1, 32)))
    for changes in ({}, {"block_1/mlp/wo": adapter}):
        expected = model.apply(params, TOKENS, labels, interventions=changes)
        cache, logits = model.prefill(params, TOKENS, STEPS, changes)
        assert cache.length.tolist() == [7, 2, 5]
        for at in range(STEPS):
            assert close(logits, np.asarray(expected[:, at]))
            if at + 1 < STEPS:
                cache, logits = model.decode(params, cache, labels[:, at], changes)


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
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "saved").eval()
    assert np.array_equal(logits_of(again, IDS[0]), logits_of(theirs, IDS[0]))
    reloaded = models.load(str(tmp_path / "saved"))[1]
    before = convert.flatten(params)
    assert all(
        np.array_equal(leaf, before[path]) for path, leaf in convert.flatten(reloaded).items()
    )


@pytest.mark.parametrize("reads", ["counterfactual", "base"])
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
