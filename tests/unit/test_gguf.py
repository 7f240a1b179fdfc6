"""GGUF files: the numbers, the names and the tokenizer that PyTorch has; damaged and strange files
are refused in one line."""

import json
import struct

import gguf
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from serac_jax import models
from serac_jax.core.batch import Tokens
from serac_jax.core.errors import UserError
from serac_jax.models import gguf_file, gguf_model

Q = gguf.GGMLQuantizationType
TEXTS = [
    "What is 1234 + 5?",
    " Paris\n\nQuestion: Who?",
    "<|im_start|>user\nhi<|im_end|>\n",
    "Ünïcödé 日本語 😀 don't we're",
    "",
]


def byte_bpe():
    """A byte-level BPE tokenizer as SmolLM2's, made by its own library."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(
        ["What is the answer? Question: Who said hi to the user?"] * 3, trainer
    )
    return made


def write(file, state, config, tokenizer, kinds, more=lambda writer: None):
    """A GGUF file of a model of `transformers`, as llama.cpp's converter writes it.

    kinds: the type of each matrix, in turn.
    Returns the tensors as they can be read again: rounded to their types.
    """
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    read = json.loads(tokenizer.to_str())
    vocab = sorted(read["model"]["vocab"], key=read["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocab)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in vocab])
    writer.add_token_merges([" ".join(pair) for pair in read["model"]["merges"]])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    more(writer)
    rounded, number = {}, 0
    for key, tensor in state.items():
        array, kind = tensor.numpy(), Q.F32
        if array.ndim == 2:
            kind, number = kinds[number % len(kinds)], number + 1
        packed = gguf.quantize(array, kind)
        rounded[key] = torch.tensor(gguf.dequantize(packed, kind).reshape(array.shape))
        for part, heads in (("q", config.num_attention_heads), ("k", config.num_key_value_heads)):
            if f".{part}_proj." in key:  # whole rows change places, which commutes with packing
                rows = np.arange(len(packed)).reshape(heads, 2, -1).swapaxes(1, 2).ravel()
                packed = packed[rows]
        writer.add_tensor(name_of(key), packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return rounded


def name_of(key):
    """The GGUF name of a Hugging Face key, by the gguf package's own table."""
    return gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2).get_name(
        key, try_suffixes=(".weight",)
    )


def random_llama(**fields):
    config = transformers.LlamaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        **{"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}} | fields,
    )
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, 0.0 if parameter.ndim > 1 else 1.0, 0.3)
    return theirs


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def same_logits(file, theirs):
    model, params = models.load(str(file))
    ids = np.array([[29, 42, 17, 3, 94, 97, 25]])
    tokens = Tokens(jnp.asarray(ids, jnp.int32), jnp.ones(ids.shape, bool))
    labels = jnp.asarray([[5, 6, 7]], jnp.int32)
    ours = np.asarray(model.apply(params, tokens, labels))[0]
    with torch.no_grad():
        expected = theirs(torch.tensor([[*ids[0], 5, 6]])).logits[0, -3:].numpy()
    assert np.abs(ours - expected).max() < 2e-5 * np.abs(expected).max()
    return model


@pytest.mark.parametrize(
    "kinds", [[Q.Q4_1, Q.Q8_0], [Q.F16, Q.BF16, Q.F32], [Q.Q4_0, Q.Q5_0, Q.Q5_1]], ids=str
)
@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_those_of_pytorch_on_the_same_rounded_weights(tmp_path, kinds, tied):
    theirs = random_llama(tie_word_embeddings=tied)
    state = {key: value for key, value in theirs.state_dict().items() if key != "lm_head.weight"}
    if not tied:
        state["lm_head.weight"] = theirs.lm_head.weight.detach()
    rounded = write(tmp_path / "m.gguf", state, theirs.config, byte_bpe(), kinds)
    theirs.load_state_dict(rounded, strict=not tied)
    same_logits(tmp_path / "m.gguf", theirs)


def test_the_scaling_of_llama_3_is_recognised(tmp_path):
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    theirs = random_llama(rope_parameters=scaling)
    plain = 500000.0 ** (-np.arange(0, 16, 2) / 16)
    factors = (plain / theirs.model.rotary_emb.inv_freq.numpy()).astype(np.float32)

    def written(factors):
        return lambda writer: writer.add_tensor(gguf_model.SCALED, factors)

    args = theirs.state_dict(), theirs.config, byte_bpe(), [Q.F32]
    write(tmp_path / "m.gguf", *args, written(factors))
    model = same_logits(tmp_path / "m.gguf", theirs)
    assert json.loads((model.folder / "config.json").read_text())["rope_scaling"]["factor"] == 8.0
    write(tmp_path / "other.gguf", *args, written(1.5 * factors))
    with pytest.raises(UserError, match="not that of Llama 3"):
        models.load(str(tmp_path / "other.gguf"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of a random model, and its tokenizer."""
    theirs, tokenizer = random_llama(tie_word_embeddings=True), byte_bpe()
    state = {key: value for key, value in theirs.state_dict().items() if key != "lm_head.weight"}
    file = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write(file, state, theirs.config, tokenizer, [Q.Q8_0])
    return file, tokenizer


def test_the_tokenizer_is_the_one_that_was_written(small):
    file, theirs = small
    ours = models.load_tokenizer(gguf_model.folder_of(file))
    for text in TEXTS:
        ids = ours(text)["input_ids"]
        assert ids == theirs.encode(text).ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)
        assert ours.decode(ids, True) == theirs.decode(ids)
    roles = (ours.unk_token_id, ours.bos_token_id, ours.eos_token_id, ours.pad_token_id)
    assert roles == (0, 1, 2, 2)
    again = transformers.AutoTokenizer.from_pretrained(ours.folder)
    assert again(TEXTS)["input_ids"] == ours(TEXTS)["input_ids"]
    assert again.chat_template == "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def test_a_saved_model_is_one_that_pytorch_reads(small, tmp_path):
    model, params = models.load(str(small[0]))
    models.save(tmp_path / "saved", model, params)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "saved").eval()
    same_logits(small[0], theirs)


@pytest.mark.parametrize("kind", [Q.Q4_K, Q.Q6_K, Q.Q2_K, Q.IQ4_XS], ids=str)
def test_large_blocks_are_read_in_parts_as_in_one(tmp_path, kind):
    """Of types that the gguf package reads but does not write: random blocks with small scales."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(0).integers(0, 60, (gguf_file.ROWS + 40, size), np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("x", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = gguf_file.read_header(tmp_path / "m.gguf").read("x")
    assert found.shape == (len(raw), block)
    assert np.array_equal(found, gguf.dequantize(raw, kind))


def change(file, new, **pairs):
    """A copy of a file in which some texts are replaced by others of the same length."""
    data = file.read_bytes()
    for old, other in pairs.items():
        assert len(old) == len(other)
        data = data.replace(old.encode(), other.encode())
    new.write_bytes(data)
    return new


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smollm": "strnge"}, "tokenizer is of the kind 'gpt2', 'strnge'"),
        ({"llama.block_count": "llama.block_mount"}, "sets 'llama.block_mount' to 2"),
        ({"blk.1.attn_k.weight": "blk.1.attn_y.weight"}, "'blk.1.attn_y.weight' is not part of"),
        ({"general.architecture": "general.brchitecture"}, "the architecture None"),
        ({"tokenizer.ggml.merges": "tokenizer.ggml.nerges"}, "describes no tokenizer"),
    ],
)
def test_what_is_not_implemented_is_refused(small, tmp_path, changes, message):
    with pytest.raises(UserError) as error:
        models.load(str(change(small[0], tmp_path / "other.gguf", **changes)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_type_that_is_not_read_is_named(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("x", np.zeros((2, 32), np.int8), raw_dtype=Q.I8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(models.WeightError, match="'x' has type 24 of GGML, which is not read"):
        gguf_file.read_header(tmp_path / "m.gguf").read("x")


def refused(data, file):
    """Checks that a file of these bytes is refused in one line."""
    file.write_bytes(data)
    with pytest.raises(UserError) as error:
        models.load(str(file))
    assert "\n" not in str(error.value)


def test_a_file_that_was_cut_is_refused_wherever_it_ends(small, tmp_path):
    data = small[0].read_bytes()
    for size in [*range(0, 60, 4), *np.linspace(60, len(data) - 1, 25).astype(int)]:
        refused(data[:size], tmp_path / "cut.gguf")


COUNTS = {"tensors": 8, "pairs": 16, "the length of a name": 24}


@pytest.mark.parametrize("count", [2**63, 2**64 - 1, 2**40, 10_000])
@pytest.mark.parametrize("place", COUNTS)
def test_a_count_that_is_more_than_the_file_holds_is_refused(small, tmp_path, place, count):
    data = bytearray(small[0].read_bytes())
    data[COUNTS[place] : COUNTS[place] + 8] = struct.pack("<Q", count)
    refused(bytes(data), tmp_path / "m.gguf")


@pytest.mark.parametrize("dimension", [0, 33, 2**40])
def test_a_tensor_of_another_shape_is_refused(small, tmp_path, dimension):
    data = bytearray(small[0].read_bytes())
    at = data.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4
    assert struct.unpack_from("<Q", data, at) == (64,)
    struct.pack_into("<Q", data, at, dimension)
    refused(bytes(data), tmp_path / "m.gguf")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changed_bytes_are_read_or_refused(small, tmp_path_factory, data):
    """Of the header, where every byte can mislead; changed weights are weights."""
    whole = bytearray(small[0].read_bytes())
    end = gguf_file.read_header(small[0]).start
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "changed.gguf"
    file.write_bytes(whole)
    message = ""
    try:
        read = gguf_model.read_weights(file)
        gguf_model.folder_of(file)
        for tensor in read.values():
            tensor()
    except UserError as error:
        message = str(error)
    assert "\n" not in message
