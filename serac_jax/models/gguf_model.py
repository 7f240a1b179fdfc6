"""A GGUF file as a Hugging Face folder: its configuration, its tokenizer and the names of its
weights.

The folder is made once, in the cache. It holds small files and a link to the GGUF file, from which
the weights are read each time: that takes a second for 135M of them, and no disk.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serac_jax.core import files
from serac_jax.core.model_files import DamagedFile
from serac_jax.models.gguf_file import Header, read_header
from serac_jax.models.gguf_tokenizer import ROLES, tokenizer_files
from serac_jax.models.network import WeightError
from serac_jax.runtime import program

WEIGHTS = "model.gguf"  # the link
FORMAT = 1  # of the folders; raised where they change

# GGUF name -> Hugging Face key.
NAMES = (
    (r"token_embd\.weight", "model.embed_tokens.weight"),
    (r"blk\.(\d+)\.attn_norm\.weight", "model.layers.{}.input_layernorm.weight"),
    (r"blk\.(\d+)\.attn_([qkv])\.weight", "model.layers.{}.self_attn.{}_proj.weight"),
    (r"blk\.(\d+)\.attn_output\.weight", "model.layers.{}.self_attn.o_proj.weight"),
    (r"blk\.(\d+)\.ffn_norm\.weight", "model.layers.{}.post_attention_layernorm.weight"),
    (r"blk\.(\d+)\.ffn_(gate|up|down)\.weight", "model.layers.{}.mlp.{}_proj.weight"),
    (r"output_norm\.weight", "model.norm.weight"),
    (r"output\.weight", "lm_head.weight"),
)
SCALED = "rope_freqs.weight"  # by how much Llama 3 slows its rotary positions
# Attributes of the architecture, and those that must have the value that is implemented.
READ = frozenset(
    """attention.head_count attention.head_count_kv attention.key_length attention.value_length
    attention.layer_norm_rms_epsilon block_count context_length embedding_length
    feed_forward_length rope.dimension_count rope.freq_base vocab_size""".split()
)
FIXED = {"rope.scaling.type": "none", "expert_count": 0, "expert_used_count": 0}


def folder_of(file: Path) -> Path:
    """The Hugging Face folder of a GGUF file, which is made where there is none yet.

    Raises:
        WeightError: the file holds a model or a tokenizer that is not implemented.
        DamagedFile: the file is damaged.
        UserError: the cache cannot be written.
    """
    file = file.expanduser().resolve()
    state = file.stat()
    key = f"{FORMAT} {file} {state.st_size} {state.st_mtime_ns}"
    cache = program.writable(program.default_cache() / "gguf", "data.cache")
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:24]
    if not folder.is_dir():
        header = read_header(file)
        contents = {"config.json": json.dumps(config(header), indent=2)}
        tokenizer = tokenizer_files(file, header.metadata)
        contents["tokenizer.json"] = tokenizer.tokenizer
        contents["tokenizer_config.json"] = json.dumps(tokenizer.settings, indent=2)
        with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as made:
            new = Path(made) / "new"
            new.mkdir()
            for name, content in contents.items():
                files.write(new / name, content.encode())
            (new / WEIGHTS).symlink_to(file)
            with suppress(OSError):  # another process was faster
                new.rename(folder)
    return folder


def config(header: Header) -> dict[str, Any]:
    """What config.json says of the model. Raises WeightError where it is not implemented."""
    file, metadata = header.file, header.metadata
    kind = metadata.get("general.architecture")
    if kind != "llama":
        raise WeightError(
            f"{file} holds a model of the architecture {kind!r}; only 'llama' is read"
        )
    if metadata.get("split.count", 1) > 1:
        raise WeightError(
            f"{file} is one of several parts; join them with `llama-gguf-split --merge`"
        )
    own = {
        key.removeprefix(f"{kind}."): value
        for key, value in metadata.items()
        if key.startswith(f"{kind}.")
    }
    for key in own.keys() - READ:
        if key not in FIXED or own[key] != FIXED[key]:
            raise WeightError(
                f"{file} sets {f'{kind}.{key}'!r} to {own[key]!r:.60}, which this network does not"
                f" implement (default: {FIXED.get(key)!r})"
            )
    try:
        heads, width = own["attention.head_count"], own["embedding_length"]
        head_width = own.get(
            "attention.key_length", own.get("rope.dimension_count", width // heads)
        )
        found = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": header.tensors["token_embd.weight"].shape[0],
            "hidden_size": width,
            "intermediate_size": own["feed_forward_length"],
            "num_hidden_layers": own["block_count"],
            "num_attention_heads": heads,
            "num_key_value_heads": own.get("attention.head_count_kv", heads),
            "head_dim": head_width,
            "hidden_act": "silu",
            "max_position_embeddings": own["context_length"],
            "rms_norm_eps": shortest(own["attention.layer_norm_rms_epsilon"]),
            "rope_theta": shortest(own.get("rope.freq_base", 10000.0)),
            "tie_word_embeddings": "output.weight" not in header.tensors,
        }
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise DamagedFile(file, f"does not describe its network ({error})") from error
    for key in {"rope.dimension_count", "attention.value_length"} & own.keys():
        if own[key] != head_width:
            raise WeightError(f"{file}: {kind}.{key} is {own[key]}, but a head has {head_width}")
    if SCALED in header.tensors:
        found["rope_scaling"] = scaling(header, found["rope_theta"], head_width)
    ids = {role: metadata[key] for role, key in ROLES.items() if key in metadata}
    return found | {f"{role}_id": number for role, number in ids.items()}


def shortest(value: float) -> float:
    """A number that was rounded to float32, in few digits: 1e-05 for 9.99999975e-06."""
    return float(str(np.float32(value)))


def scaling(header: Header, theta: float, width: int) -> dict[str, Any]:
    """Llama 3's scaling of rotary positions. GGUF files hold its outcome alone, so that it is
    recognised by the numbers that all models of the family use.

    Raises WeightError where it is another."""
    divided = header.read(SCALED).ravel()
    found: dict[str, Any] = {"rope_type": "llama3", "factor": float(divided.max())}
    found |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    found["original_max_position_embeddings"] = 8192
    turns = 8192 / (2 * np.pi * theta ** (np.arange(0, width, 2) / width))
    smooth = np.clip((turns - 1) / 3, 0, 1)
    expected = 1 / ((1 - smooth) / found["factor"] + smooth)
    if divided.shape != expected.shape or not np.allclose(divided, expected, rtol=1e-4):
        raise WeightError(
            f"{header.file}: the scaling of rotary positions is not that of Llama 3; use the"
            " model's Hugging Face folder"
        )
    return found


def read_weights(file: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Readers of the tensors of a GGUF file, by Hugging Face key."""
    header = read_header(file)
    made = config(header)
    heads = {"q": made["num_attention_heads"], "k": made["num_key_value_heads"]}
    tensors: dict[str, Callable[[], np.ndarray]] = {}
    for name in header.tensors.keys() - {SCALED}:
        rotated = re.fullmatch(r"blk\.\d+\.attn_([qk])\.weight", name)
        tensors[key_of(name)] = partial(tensor, header, name, heads[rotated[1]] if rotated else 0)
    return tensors


def key_of(name: str) -> str:
    """The Hugging Face key of a tensor; the name itself, which no network knows, where there is
    none."""
    for known, key in NAMES:
        if match := re.fullmatch(known, name):
            return key.format(*match.groups())
    return name


def tensor(header: Header, name: str, heads: int) -> np.ndarray:
    """A tensor as `transformers` stores it.

    Args:
        heads: of q or k; 0 for other tensors. For rotary positions a GGUF file pairs neighbouring
            entries of a head, `transformers` its two halves.
    """
    found = header.read(name)
    if not heads:
        return found
    if found.ndim != 2 or found.shape[0] % (2 * heads):
        raise DamagedFile(header.file, f"{name!r} has shape {found.shape}, but {heads} heads")
    split = found.reshape(heads, -1, 2, found.shape[1])
    return split.swapaxes(1, 2).reshape(found.shape)
