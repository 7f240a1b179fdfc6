"""Networks, and loading them from and saving them as Hugging Face folders.

model, params = load("google/t5-small-ssm-nq")
logits = model.logits(params, examples)
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from serac_jax.core.batch import Examples, Tokens
from serac_jax.core.sharding import path_name
from serac_jax.core.types import Params
from serac_jax.models import bert, blenderbot, convert, decoding, hub, t5
from serac_jax.models.convert import Network, WeightError
from serac_jax.models.decoding import Decoding
from serac_jax.models.hub import ModelNotFound as ModelNotFound

Place = Callable[[str, np.ndarray], Any]  # puts a leaf, given its path, on its devices

NETWORKS: dict[str, Network] = {
    "t5": t5.NETWORK,
    "bert": bert.BERT,
    "distilbert": bert.DISTILBERT,
    "blenderbot-small": blenderbot.NETWORK,
}

OUTPUTS = {
    "": "a model that answers in words",
    "cls": "an embedding",
    "pooler": "an embedding",
    "mean": "an embedding",
    "head": "a classifier",
}
HEAD = "classifier.bias"  # has an entry an output of the head

# Attributes of a Hugging Face configuration that change nothing in what these networks compute.
INERT = frozenset(
    """transformers_version architectures torch_dtype dtype _name_or_path model_type use_cache pad_token_id bos_token_id eos_token_id
    output_hidden_states output_attentions return_dict problem_type initializer_range initializer_factor task_specific_params n_positions
    output_past gradient_checkpointing finetuning_task classifier_dropout is_encoder_decoder tie_weights_ tie_word_embeddings directionality
    pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type id2label label2id
    unk_token_id classif_dropout""".split()
)
# Attributes that older configurations spell out and `transformers` no longer knows, with the value
# that these networks implement.
FORMER_DEFAULTS = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "sinusoidal_pos_embds": False,
} | {
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "do_blenderbot_90_layernorm": True,
    "extra_layer_norm": False,
    "extra_pos_embeddings": 0,
    "force_bos_token_to_be_generated": False,
    "layernorm_variant": "xlm",
    "normalize_before": False,
    "normalize_embedding": True,
    "static_position_embeddings": False,
}


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its tokenizer; parameters are passed in, never held.

    output, labels: what it was loaded for, and how many outputs its head has (0: no head).
    """

    name: str
    folder: Path
    module: nn.Module
    network: Network
    tokenizer: PreTrainedTokenizerBase
    decoding: Decoding  # how its answers are decoded, where it is a decoder
    output: str
    labels: int

    @property
    def decodes(self) -> bool:
        """Whether it answers in words, which are generated, and not with a class."""
        return self.output == ""

    def logits(
        self, params: Params, examples: Examples, key: Array | None = None
    ) -> Float[Array, "a b v"]:
        """Logits of every label given the input and the labels before it, "n t v", or of the
        positions `examples.at`, "p 1 v"; dropout only with a key."""
        chosen: dict[str, Any] = (
            {} if examples.at is None else {"at": examples.at}
        )  # a classifier has one position
        return self.apply(params, examples.inputs, examples.labels, key=key, **chosen)

    def embed(
        self, params: Params, tokens: Tokens, key: Array | None = None
    ) -> Float[Array, "n d"]:
        """One vector a text, of a network loaded with an embedding as its output."""
        return self.apply(params, tokens, key=key)

    def with_dropout(self, rate: float) -> Model:
        """The same network with this rate in every dropout layer."""
        return replace(
            self, module=self.module.clone(config=replace(self.module.config, dropout=rate))
        )

    def encode(self, params: Params, tokens: Tokens) -> Float[Array, "n l e"]:
        """The last hidden states of what reads the input: an encoder's, or a classifier's
        body's."""
        return self.apply(params, tokens, method="encode")

    def apply(
        self,
        params: Params,
        *args: Any,
        key: Array | None = None,
        method: str | None = None,
        **named: Any,
    ) -> Any:
        rngs = {} if key is None else {"dropout": key}
        return self.module.apply({"params": params}, *args, rngs=rngs, method=method, **named)


Load = Callable[..., tuple[Model, Params]]  # a function such as `load`


def load(
    name: str,
    *,
    output: str = "",
    labels: int = 0,
    checkpoint: str = "",
    dropout: float = 0.0,
    dtype: Any = jnp.float32,
    remat: bool = False,
    fresh: tuple[str, ...] = (),
    seed: int = 0,
    place: Place = lambda path, array: jnp.asarray(array),
) -> tuple[Model, Params]:
    """Reads a model, leaf by leaf, from a folder, the shipped models, or the Hugging Face Hub.

    output, labels, dropout, dtype, remat: see `outline`; a head in `checkpoint` says how many
        outputs it has.
    checkpoint: a file of weights (safetensors, or as torch.save writes them) to read instead of
        those of `name`.
    fresh: first parts of parameter paths that may be missing, such as "head": they are drawn at
        random from `seed`.
    Raises ModelNotFound, or WeightError where configuration, weights, tokenizer and network do not
    fit one another."""
    folder = hub.resolve(name)
    weights = (
        convert.read_files([existing(checkpoint)]) if checkpoint else convert.read_weights(folder)
    )
    if (
        output == "head" and not labels and checkpoint and HEAD in weights
    ):  # config.json tells nothing about another file's head
        labels = len(weights[HEAD]())
    model = outline(
        name, folder, output=output, labels=labels, dropout=dropout, dtype=dtype, remat=remat
    )
    network, leaves = model.network, abstract(model.module)
    params: dict[str, Array] = {}
    tensors = convert.from_hf(
        weights,
        leaves,
        rules=network.rules,
        copies=network.copies(model.module.config),
        ignored=network.ignored,
        optional=network.optional,
        source=checkpoint or name,
    )
    for path, array in tensors:
        params[path] = place(path, array)
    rng = np.random.default_rng(seed)
    for path in sorted(set(leaves) - set(params)):
        if path.split("/")[0] not in fresh:
            raise WeightError(
                f"{checkpoint or name}: the weight {convert.key_of(path, network.rules)!r} is"
                " missing; this use needs a checkpoint that has it"
            )
        drawn = (
            rng.normal(0, 0.02, leaves[path].shape)
            if path.endswith("kernel")
            else np.zeros(leaves[path].shape)
        )
        params[path] = place(path, drawn.astype(np.float32))
    return model, convert.unflatten(params)


def outline(
    name: str, folder: Path, *, output: str, labels: int, dropout: float, dtype: Any, remat: bool
) -> Model:
    """A network and its tokenizer, without its weights.

    output: what a network is read for: "" (answers in words), "cls", "pooler" or "mean"
        (embeddings) or "head" (class logits).
    labels: outputs of the head; 0: as many as the configuration says.
    dropout: the rate of every dropout layer, used where `Model.logits` gets a key. dtype: of the
        computation; parameters are float32.
    remat: recompute activations in the backward pass.
    Raises WeightError where configuration, tokenizer and network do not fit one another.
    """
    hf = AutoConfig.from_pretrained(folder)
    network = NETWORKS.get(hf.model_type)
    if network is None:
        raise WeightError(
            f"{name}: model_type {hf.model_type!r} is not supported; supported are"
            f" {', '.join(sorted(NETWORKS))}"
        )
    if output not in network.outputs:
        raise WeightError(
            f"{name}: {OUTPUTS[output]} is needed here, but a network of model_type"
            f" {hf.model_type!r} gives {OUTPUTS[network.outputs[0]]}"
        )
    attributes = checked_attributes(name, hf, network)
    if output == "head":
        labels = labels or len(attributes["id2label"])
        attributes |= classes(labels)
    config = network.config(attributes, output, dropout, dtype, remat)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if len(tokenizer) > attributes["vocab_size"]:
        raise WeightError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the network only"
            f" {attributes['vocab_size']} embeddings; they are not of one model"
        )
    answers = decoding.read(folder, config.eos) if hf.is_encoder_decoder else Decoding()
    return Model(name, folder, network.module(config), network, tokenizer, answers, output, labels)


def classes(count: int) -> dict[str, dict[Any, Any]]:
    """The attributes by which a Hugging Face configuration says how many outputs the head has."""
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


def model_type(folder: Path) -> str:
    """The Hugging Face `model_type` of a folder."""
    return AutoConfig.from_pretrained(folder).model_type


def checked_attributes(name: str, hf: Any, network: Network) -> dict[str, Any]:
    """The configuration's attributes. Raises WeightError where one is neither handled, nor inert,
    nor at its default."""
    attributes, defaults = hf.to_dict(), FORMER_DEFAULTS | type(hf)().to_dict()
    for key, value in attributes.items():
        if key not in network.handled and key not in INERT and value != defaults.get(key):
            raise WeightError(
                f"{name}: config.json sets {key}={value!r}, which this network does not implement"
                f" (default: {defaults.get(key)!r})"
            )
    return attributes


def abstract(module: nn.Module) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a module's parameters by path."""
    tokens = Tokens(jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool))
    shapes = jax.eval_shape(module.init, jax.random.key(0), tokens, jnp.zeros((1, 1), jnp.int32))[
        "params"
    ]
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}


# What `transformers` calls a network, by model type and whether it has a head, and the prefix of
# its body inside it.
ARCHITECTURES = {
    ("t5", False): ("T5ForConditionalGeneration", ""),
    ("blenderbot-small", False): ("BlenderbotSmallForConditionalGeneration", ""),
    ("bert", False): ("BertModel", ""),
    ("bert", True): ("BertForSequenceClassification", "bert."),
    ("distilbert", False): ("DistilBertModel", ""),
    ("distilbert", True): ("DistilBertForSequenceClassification", "distilbert."),
}


def save(folder: Path, model: Model, params: Params) -> None:
    """Writes a Hugging Face folder (config.json, model.safetensors, tokenizer) that `transformers`
    and `load` read."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((model.folder / "config.json").read_text())
    architecture, prefix = ARCHITECTURES[config["model_type"], "head" in params]
    tensors = convert.to_hf(convert.flatten(params), model.network.rules)
    named = {
        key if key.startswith(("classifier.", "pre_classifier.")) else prefix + key: array
        for key, array in tensors.items()
    }
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    changes = {"architectures": [architecture], "dtype": "float32"} | (
        classes(model.labels) if "head" in params else {}
    )
    (folder / "config.json").write_text(json.dumps(config | changes, indent=2) + "\n")
    if (model.folder / "generation_config.json").exists():
        shutil.copyfile(model.folder / "generation_config.json", folder / "generation_config.json")
    model.tokenizer.save_pretrained(folder)
