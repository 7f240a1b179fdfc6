"""Tiny random causal models, made by PyTorch."""

import functools
import shutil

import torch
import transformers

from tests.conftest import ASSETS, MODELS, TEMPORARY

LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0}
SCALED = {"rope_theta": 500.0, "original_max_position_embeddings": 16}
COMMON = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "eos_token_id": 1,
}
GPT = {
    "vocab_size": 320,
    "n_embd": 32,
    "n_inner": 48,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "eos_token_id": 1,
    "bos_token_id": 1,
}
# By model_type: the names that its configuration has for sizes.
SHAPES = {
    "llama": COMMON,
    "mistral": COMMON,
    "qwen2": COMMON,
    "qwen3": COMMON,
    "gemma3_text": COMMON,
    "gpt2": GPT,
    "gptj": GPT,
}
MOST_PARAMETERS = 1_000_000  # a size under another name leaves the model as large as a real one
# By name: the model_type, and what is set in its configuration. Windows are narrower than texts.
KINDS = {
    "llama": ("llama", {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 1e5}}),
    "llama untied, with biases": (
        "llama",
        {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
    ),
    "llama 3": ("llama", {"head_dim": 16, "rope_parameters": LLAMA3 | SCALED}),
    "llama linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}},
    ),
    "llama dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 500.0}},
    ),
    "llama yarn": ("llama", {"head_dim": 16, "rope_parameters": YARN | SCALED}),
    "mistral": ("mistral", {"sliding_window": 4}),
    "mistral, no window": ("mistral", {"sliding_window": None, "head_dim": 12}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2 windowed": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gemma3": (
        "gemma3_text",
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 10,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "gpt2": ("gpt2", {}),
    "gptj": ("gptj", {"rotary_dim": 4}),
}


def random_model(kind, folder, **changes):
    """A random model of PyTorch's, saved in a folder with a tokenizer."""
    name, fields = KINDS[kind]
    config = transformers.AutoConfig.for_model(name, **SHAPES[name] | fields | changes)
    with torch.device("meta"):  # which allocates nothing
        large = transformers.AutoModelForCausalLM.from_config(config)
    assert large.num_parameters() <= MOST_PARAMETERS, f"{kind} has other names for its sizes"
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in theirs.parameters():
        around = 1.0 if parameter.ndim == 1 and parameter.mean() == 1.0 else 0.0
        torch.nn.init.normal_(parameter, around, 0.3)
    theirs.save_pretrained(folder)
    add_tokenizer(folder)
    return theirs


def add_tokenizer(folder):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((MODELS / "t5-tiny" / file).read_bytes())


@functools.cache
def one_layer(kind):
    """The folder of a random model of one layer."""
    folder = TEMPORARY / "one-layer" / f"causal {kind}"
    folder.mkdir(parents=True)
    layers = "n_layer" if SHAPES[KINDS[kind][0]] is GPT else "num_hidden_layers"
    changes = {layers: 1, "vocab_size": 3000}
    if types := KINDS[kind][1].get("layer_types"):
        changes["layer_types"] = types[-1:]
    random_model(kind, folder, **changes)
    # Of words: the examples of a template take few tokens.
    shutil.copy(ASSETS / "models" / "base" / "tokenizer.json", folder)
    return str(folder)


@functools.cache
def in_pieces():
    """The folder of a random Llama of one layer whose tokenizer begins each verdict differently."""
    folder = TEMPORARY / "one-layer" / "in pieces"
    folder.mkdir(parents=True)
    room = 2048  # of its pieces a template's examples are many
    random_model("llama", folder, num_hidden_layers=1, max_position_embeddings=room)
    return str(folder)
