"""Loads models from Hugging Face folders, and saves them as such."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from safetensors.numpy import save_file

from serac_jax.core import files
from serac_jax.core.batch import Tokens
from serac_jax.core.errors import UserError
from serac_jax.core.model_files import DamagedFile
from serac_jax.core.sharding import path_name
from serac_jax.core.types import Params
from serac_jax.models import convert, decoding, hf_config, hub, sentence, weights_digest
from serac_jax.models.decoding import Decoding
from serac_jax.models.hub import ModelNotFound
from serac_jax.models.model import Model, ends_of
from serac_jax.models.network import Network, WeightError
from serac_jax.models.networks import NETWORKS
from serac_jax.text import tokenizer
from serac_jax.text.tokenizer import Tokenizer

Place = Callable[[str, np.ndarray], Any]  # (path, leaf) -> the leaf on its devices
Built = TypeVar("Built")
Load = Callable[..., tuple[Model, Params]]  # a function such as `load`

OUTPUTS = {
    "": "a model that answers in words",
    "cls": "an embedding",
    "pooler": "an embedding",
    "mean": "an embedding",
    "sentence": "an embedding",
    "head": "a classifier",
}
HEAD = "classifier.bias"  # has one entry per output of the head


def load(
    name: str,
    *,
    output: str = "",
    labels: int = 0,
    checkpoint: str = "",
    dropout: float = 0.0,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
    remat: bool = False,
    fresh: tuple[str, ...] = (),
    seed: int = 0,
    place: Place = lambda path, array: jax.device_put(array),
) -> tuple[Model, Params]:
    """Reads a model, one weight at a time.

    Args:
        name: a folder, a shipped model ("mini/…"), or a repository on the Hugging Face Hub.
        output, labels, dropout, dtype, remat: see `outline`; `labels` may be 0 where `checkpoint`
            has a head, which says how many outputs it has.
        param_dtype: of the weights.
        checkpoint: a file of weights (safetensors, or of `torch.save`) to read instead of those of
            `name`.
        fresh: first parts of parameter paths that may be missing, such as "head"; they are drawn
            at random from `seed`.
        place: puts a weight, given its path, on its devices.

    Raises:
        ModelNotFound: there is no such model or file.
        WeightError: configuration, weights, tokenizer and network do not fit together.
        DamagedFile: a file cannot be read.
    """
    folder = hub.resolve(name)
    weights = (
        convert.read_files([existing(checkpoint)]) if checkpoint else convert.read_weights(folder)
    )
    if output == "head" and not labels and checkpoint and HEAD in weights:
        labels = len(weights[HEAD]())  # config.json does not describe another file's head
    model = outline(
        name, folder, output=output, labels=labels, dropout=dropout, dtype=dtype, remat=remat
    )
    network = model.network
    leaves = described(folder, lambda: abstract(model.module))
    tensors = convert.from_hf(
        weights,
        leaves,
        rules=network.rules,
        transposed=network.transposed,
        copies=network.copies(model.module.config),
        ignored=network.ignored,
        optional=network.optional,
        source=checkpoint or name,
    )
    params: dict[str, Array] = {}
    digests: dict[str, bytes] = {}
    for path, array in tensors:
        digests[path] = weights_digest.of_tensor(array)
        params[path] = place(path, array.astype(param_dtype, copy=False))
    rng = np.random.default_rng(seed)
    for path in sorted(set(leaves) - set(params)):
        if path.split("/")[0] not in fresh:
            raise WeightError(
                f"{checkpoint or name}: the weight {convert.key_of(path, network.rules)!r} is"
                " missing; this use needs a checkpoint that has it"
            )
        shape = leaves[path].shape
        drawn = rng.normal(0, 0.02, shape) if path.endswith("kernel") else np.zeros(shape)
        params[path] = place(path, drawn.astype(param_dtype))
    digest = weights_digest.of_model(digests.items(), model.tokenizer.codec.vocab)
    return replace(model, digest=digest), convert.unflatten(params)


def digest_of(model: Model, params: Params) -> str:
    """The digest that a model will have when it is saved with these parameters and loaded again."""
    leaves = convert.flatten(params).items()
    digests = [(path, weights_digest.of_tensor(np.asarray(leaf))) for path, leaf in leaves]
    return weights_digest.of_model(digests, model.tokenizer.codec.vocab)


def outline(
    name: str,
    folder: Path,
    *,
    output: str = "",
    labels: int = 0,
    dropout: float = 0.0,
    dtype: Any = jnp.float32,
    remat: bool = False,
) -> Model:
    """A network and its tokenizer, without weights.

    Args:
        output: what the network is read for: "" (answers in words), "cls", "pooler" or "mean"
            (embeddings), "sentence" (the embedding that a sentence encoder declares), or "head"
            (class logits).
        labels: outputs of the head; 0: as many as config.json says.
        dropout: the rate of every dropout layer, used where `Model.logits` gets a key.
        dtype: of the computation.
        remat: whether the backward pass recomputes activations.

    Raises:
        WeightError: configuration, tokenizer and network do not fit together.
    """
    network, unit = network_of(name, folder), False
    if output == "sentence":
        output, unit = sentence.pooling(name, folder)
    if output not in network.outputs:
        raise WeightError(
            f"{name}: {OUTPUTS[output]} is needed here, but a network of model_type"
            f" {hf_config.model_type(folder)!r} gives {OUTPUTS[network.outputs[0]]}"
        )
    attributes = hf_config.attributes(name, folder, network)
    if output == "head":
        labels = labels or attributes["num_labels"] or len(attributes["id2label"])
        attributes |= classes(labels)
    if ends := decoding.options_in(folder).get("eos_token_id"):
        hf_config.check_ends(name, ends)
        attributes["eos_token_id"] = ends  # which `transformers` prefers to that of config.json
    config = described(folder, lambda: network.config(attributes, output, dropout, dtype, remat))
    read = load_tokenizer(folder)
    if len(read) > attributes["vocab_size"]:
        raise WeightError(
            f"{name}: the tokenizer has {len(read)} tokens, the network only"
            f" {attributes['vocab_size']} embeddings; they are not of one model"
        )
    answers = Decoding() if output else decoding.read(folder, ends_of(config), network.sampled)
    return Model(name, folder, network.module(config), network, read, answers, output, labels, unit)


def described(folder: Path, build: Callable[[], Built]) -> Built:
    """What `build` makes of the numbers of a configuration, which may contradict each other.

    Raises:
        DamagedFile: they describe no network.
    """
    try:
        return build()
    except WeightError as error:
        raise error if str(folder) in str(error) else WeightError(f"{folder}: {error}") from error
    except UserError:
        raise
    except Exception as error:  # of any arithmetic with such numbers
        problem = f"describes no network ({type(error).__name__}: {files.reason(error):.120})"
        raise DamagedFile(folder / "config.json", problem) from error


def network_of(name: str, folder: Path) -> Network:
    """The network of a folder's `model_type`. Raises WeightError where it is not supported."""
    kind = hf_config.model_type(folder)
    if kind not in NETWORKS:
        raise WeightError(
            f"{name}: model_type {kind!r} is not supported; supported are"
            f" {', '.join(sorted(NETWORKS))}"
        )
    return NETWORKS[kind]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder, whose network need not be supported."""
    kind = hf_config.model_type(folder) if (folder / "config.json").exists() else ""
    network = NETWORKS.get(kind)
    if network is None:
        return tokenizer.read(folder)
    return tokenizer.read(folder, network.special_tokens, network.codec)


def classes(count: int) -> dict[str, dict[Any, Any]]:
    """The attributes of a configuration that say how many outputs the head has."""
    names = [f"LABEL_{number}" for number in range(count)]
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
    }


def existing(file: str) -> Path:
    """The path of a file. Raises ModelNotFound where there is none."""
    if not (path := Path(file).expanduser()).is_file():
        raise ModelNotFound(f"{file!r} is not a file of weights; give its path")
    return path


def digest(folder: Path) -> str:
    """A digest of a model's files: weights, configuration and tokenizer."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        found.update(file.name.encode())
        with file.open("rb") as handle:
            found.update(hashlib.file_digest(handle, "sha256").digest())
    return found.hexdigest()


def abstract(module: nn.Module, dtype: Any = jnp.float32) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a module's parameters by path; `dtype`: in which they are held."""
    return {path: jax.ShapeDtypeStruct(shape, dtype) for path, shape in shapes(module)}


@lru_cache(maxsize=64)  # tracing a module takes longer than reading a small one
def shapes(module: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Paths and shapes of a module's parameters."""

    def init() -> Params:
        tokens = Tokens(jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool))
        return module.init(jax.random.key(0), tokens, jnp.zeros((1, 1), jnp.int32))["params"]

    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(init))
    return tuple((path_name(path), leaf.shape) for path, leaf in leaves)


def save(folder: Path, model: Model, params: Params) -> None:
    """Writes a Hugging Face folder (config.json, model.safetensors, tokenizer) that `transformers`
    and `load` read."""
    folder.mkdir(parents=True, exist_ok=True)
    network, has_head = model.network, "head" in params
    architecture = network.head if has_head and network.head else network.architecture
    tensors = {
        key if key.startswith(architecture.unprefixed) else architecture.prefix + key: array
        for key, array in convert.to_hf(
            convert.flatten(params), network.rules, network.transposed
        ).items()
    }
    with files.replacing(folder / "model.safetensors") as new:
        save_file(tensors, new, metadata={"format": "pt"})
    config = hf_config.read(model.folder)
    dtype = str(next(iter(tensors.values())).dtype)
    config |= {"architectures": [architecture.name], "dtype": dtype}
    config |= classes(model.labels) if has_head else {}
    files.write_json(folder / "config.json", config)
    if (model.folder / "generation_config.json").exists():
        generation = (model.folder / "generation_config.json").read_bytes()
        files.write(folder / "generation_config.json", generation)
    sentence.copy(model.folder, folder)
    model.tokenizer.save_pretrained(folder)
