"""What every pre-training shares: models with random weights, the optimizer's loop, folders of
weights."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Scalar
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig

from serac_jax.core.batch import Tokens
from serac_jax.models import NETWORKS, Model, abstract, convert, load, load_tokenizer, save
from serac_jax.models.decoding import Decoding
from serac_jax.models.hub import SHIPPED
from serac_jax.text.tokenizer import Tokenizer
from serac_jax.text.tokens import pad
from tools.world.corpus import digest


def blank(name: str, output: str = "mean", seed: int = 0) -> tuple[Model, Any]:
    """The model of a folder with random weights: kernels keep the variance of what they multiply,
    as T5's do."""
    folder = SHIPPED / name
    hf = AutoConfig.from_pretrained(folder)
    network = NETWORKS[hf.model_type]
    module = network.module(network.config(hf.to_dict(), output, 0.0, jnp.float32, False))
    rng, leaves = np.random.default_rng(seed), {}
    for path, leaf in sorted(abstract(module).items()):
        scale = {
            "kernel": leaf.shape[0] ** -0.5,
            "embedding": 1.0 if hf.model_type == "t5" else 0.1,
            "bias": 0.0,
            "output_bias": 0.0,
        }.get(path.split("/")[-1])
        drawn = np.ones(leaf.shape) if scale is None else rng.normal(0, scale, leaf.shape)
        leaves[path] = jnp.asarray(
            drawn * (hf.d_kv**-0.5 if path.endswith("q/kernel") and hf.model_type == "t5" else 1),
            jnp.float32,
        )
    tokenizer = load_tokenizer(folder)
    return Model(
        name, folder, module, network, tokenizer, Decoding(), output, 1 if output == "head" else 0
    ), convert.unflatten(leaves)


def mimetic(params: Any, share: float = 0.75) -> Any:
    """A BERT's random weights, so arranged that a token begins by attending to its copies (after
    Trockman and Kolter 2023): it soon learns to compare texts.

    Queries equal keys; words use the first `share` of the width, and positions, four times weaker,
    the rest."""
    width = params["words"]["embedding"].shape[1]
    word = (jnp.arange(width) < share * width)[None].astype(jnp.float32)
    blocks = {name: part for name, part in params.items() if name.startswith("block_")}
    tied = {
        name: part | {"attention": part["attention"] | {"k": part["attention"]["q"]}}
        for name, part in blocks.items()
    }
    words, positions = (params[name]["embedding"] for name in ("words", "positions"))
    return (
        params
        | tied
        | {
            "words": {"embedding": words * word},
            "positions": {"embedding": positions * (1 - word) / 2},
        }
    )


def warm(name: str, source: str, output: str) -> tuple[Model, Any]:
    """A new folder's model, which begins as a copy of another shipped one."""
    shutil.copytree(SHIPPED / source, SHIPPED / name, dirs_exist_ok=True)
    model, params = load(f"mini/{source}", output=output)
    return replace(model, name=name, folder=SHIPPED / name), params


def fit(
    params: Any,
    loss: Callable[..., Any],
    batches: Iterator[Any],
    steps: int,
    rate: float,
    report: Callable[[Any], str],
) -> Any:
    """Adam with warm-up and cosine decay; prints progress with the time left."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(
            optax.warmup_cosine_decay_schedule(0, rate, min(500, steps // 10), steps, rate / 100)
        ),
    )

    @jax.jit
    def step(params: Any, state: Any, batch: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state, start, values = optimizer.init(params), time.monotonic(), []
    for number in range(1, steps + 1):
        params, state, value = step(params, state, next(batches))
        values.append(value)
        if number % 50 == 0 or number == steps:
            left = (time.monotonic() - start) / number * (steps - number)
            print(
                f"{number}/{steps}  {left / 60:.0f} min left  loss {np.mean(values):.4f} "
                f" {report(params)}",
                flush=True,
            )
            values = []
    return params


def write(model: Model, params: Any, text: list[str]) -> None:
    """Saves the model in half precision, with the digest of the text that it was trained on."""
    save(model.folder, model, params)
    (model.folder / "trained_on.txt").write_text(digest(text) + "\n")
    file = model.folder / "model.safetensors"
    save_file(
        {key: array.astype(np.float16) for key, array in load_file(file).items()},
        file,
        metadata={"format": "pt"},
    )


def encode(tokenizer: Tokenizer, texts: list[str], width: int) -> Tokens:
    """Padded ids; a longer text keeps its beginning and its last token."""
    return pad(
        [
            row if len(row) <= width else row[: width - 1] + row[-1:]
            for row in tokenizer(texts)["input_ids"]
        ],
        width,
    )


def sample(pairs: list[tuple[str, str]], count: int, seed: int = 0) -> list[tuple[str, str]]:
    return [pairs[i] for i in np.random.default_rng(seed).choice(len(pairs), count, replace=False)]


def squared_distances(model: Model) -> Callable[..., Any]:
    """‖e(a) − e(b)‖² of every two texts of two lists."""

    def distances(params: Any, batch: tuple[Tokens, Tokens]) -> Any:
        a, b = (model.embed(params, side) for side in batch)
        return jnp.square(a[:, None] - b[None]).sum(-1)

    return distances


def contrastive(model: Model) -> Callable[..., Any]:
    """Row i of one list is nearer to row i of the other than to any other row, and the reverse."""
    distances = squared_distances(model)

    return lambda params, batch: told_apart(-distances(params, batch))


def told_apart(similar: Float[Array, "n n"]) -> Scalar:
    """The same of a table of similarities."""
    return (
        -(
            jnp.diag(jax.nn.log_softmax(similar, 0)) + jnp.diag(jax.nn.log_softmax(similar, 1))
        ).mean()
        / 2
    )


def set_border(model: Model, params: Any, batches: Iterator[Any], share: float = 0.95) -> Any:
    """Parameters under which `share` of the pairs that belong together have a similarity exp(−‖·‖²)
    above 1/2."""
    apart = jax.jit(squared_distances(model))
    border = np.quantile([np.diag(apart(params, next(batches))) for _ in range(10)], share)
    last = f"block_{model.module.config.layers - 1}"
    norm = {
        name: leaf * np.sqrt(np.log(2) / border) for name, leaf in params[last]["mlp_norm"].items()
    }
    return params | {last: params[last] | {"mlp_norm": norm}}
