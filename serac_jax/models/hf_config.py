"""config.json: the attributes that a network reads, and refusal of those it does not implement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serac_jax.core.model_files import read_json
from serac_jax.models.decoding import GENERATION
from serac_jax.models.network import Network, WeightError

# Attributes of every configuration that change nothing in what a network computes.
INERT = frozenset(
    """_name_or_path architectures bos_token_id classifier_dropout classif_dropout dtype
    eos_token_id finetuning_task gradient_checkpointing id2label initializer_range
    is_encoder_decoder label2id model_type name_or_path output_attentions output_hidden_states
    output_past pad_token_id prefix problem_type return_dict sep_token_id task_specific_params
    tie_word_embeddings tie_weights_ tokenizer_class torch_dtype transformers.js_config
    transformers_version unk_token_id use_cache""".split()
)
# Attributes of every configuration that are accepted at the value that is implemented.
FIXED = {
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "pruned_heads": {},
    "tie_encoder_decoder": False,
    "torchscript": False,
    "use_bfloat16": False,
}


LARGEST = 2**31 - 1  # number of a configuration
LAYERS = frozenset(
    """num_layers num_decoder_layers num_hidden_layers n_layers n_layer encoder_layers
    decoder_layers""".split()
)
MOST_LAYERS = 1000  # more would take minutes to refuse
# Attributes of a model of text and images that hold for its text part, too.
SHARED = ("bos_token_id", "eos_token_id", "pad_token_id")


def read(folder: Path) -> dict[str, Any]:
    """config.json; of a model of text and images, the configuration of its text part."""
    found = read_json(folder / "config.json")
    text = found.get("text_config")
    if not isinstance(text, dict):
        return found
    return {key: found[key] for key in SHARED if key in found} | text


def model_type(folder: Path) -> str:
    """The Hugging Face `model_type` of a folder.

    Raises:
        DamagedFile, WeightError: config.json is missing, damaged, or names no type.
    """
    found = read(folder).get("model_type")
    if not isinstance(found, str):
        raise WeightError(f"{folder / 'config.json'}: expected the name of a 'model_type'")
    return found


def attributes(name: str, folder: Path, network: Network) -> dict[str, Any]:
    """The attributes that a network reads, those of config.json before the network's defaults.

    Args:
        name: of the model, for messages.

    Raises:
        WeightError: an attribute is neither read, nor inert, nor at the value that is implemented;
            or has a value of the wrong type.
    """
    given = read(folder)
    fixed = FIXED | dict(network.fixed)
    passed = INERT | network.inert | GENERATION | network.attributes.keys()
    for key, value in given.items():
        if value is None or (key in fixed and value == fixed[key]):
            continue
        if key in fixed or key not in passed:
            raise WeightError(
                f"{name}: config.json sets {key}={value!r:.60}, which this network does not"
                f" implement (default: {fixed.get(key)!r})"
            )
        if key == "eos_token_id":
            check_ends(name, value)
        else:
            check_type(name, key, value, network.attributes.get(key))
    chosen = dict(network.attributes)
    chosen |= {key: value for key, value in given.items() if key in chosen and value is not None}
    return chosen | {key: None for key in network.nullable & given.keys() if given[key] is None}


def check_type(name: str, key: str, value: Any, default: Any) -> None:
    """Raises WeightError where a value is of another type than the attribute's default, or a number
    out of range."""
    wanted = type(default)
    fits = isinstance(value, (int, float) if wanted is float else wanted)
    if default is not None and (not fits or isinstance(value, bool) != (wanted is bool)):
        raise WeightError(
            f"{name}: config.json sets {key}={value!r:.60}; expected a value like {default!r}"
        )
    most = MOST_LAYERS if key in LAYERS else LARGEST
    if isinstance(value, int | float) and not -LARGEST <= value <= most:  # nor is NaN
        raise WeightError(
            f"{name}: config.json sets {key}={value!r:.60}; expected at most {most:,}"
        )


def check_ends(name: str, value: Any) -> None:
    """Raises WeightError unless a value is an id, or several, with which answers end."""
    ids = value if isinstance(value, list) else [value]
    if not ids or not all(type(one) is int and 0 <= one <= LARGEST for one in ids):
        raise WeightError(f"{name}: expected the ids of tokens in eos_token_id, not {value!r:.60}")
