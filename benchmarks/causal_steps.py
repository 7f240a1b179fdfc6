"""Prefill, greedy decoding and a training step of an adapter: a causal network here and the same
weights in PyTorch `transformers` (scaled dot product attention), by turns.

    python -m benchmarks.causal_steps                    the shape of SmolLM2-135M, float32
    python -m benchmarks.causal_steps --dtype=bfloat16 --rounds=9 --json=FILE

The weights are random, so that nothing is downloaded. Texts have 20 to 60 tokens, the same on both
sides, padded to the longest; answers have `STEPS` tokens and are the same in float32, which is
checked. A ratio above 1 says how many times faster this project is.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from transformers import LlamaConfig

from benchmarks import real_size
from benchmarks.timing import by_turns
from serac_jax.core.batch import Examples, Tokens, packed
from serac_jax.core.losses import token_log_probs
from serac_jax.models import Model, adapters, convert
from serac_jax.models.generate import generate
from serac_jax.text.tokens import pad

SMOLLM2 = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
    eos_token_id=49151,
)
STEPS = 32  # tokens of an answer
TRAINED, LABELS, RANK = 12, 4, 16  # rows, labels of a row, and the rank, of a training step
LAYERS = (r"block_\d+/.*",)
Side = dict[str, Callable[[], Any]]


class Texts(NamedTuple):
    """Prompts, and the labels that follow those of a training step."""

    prompts: list[list[int]]
    labels: np.ndarray


def texts(count: int, vocab: int, seed: int = 0) -> Texts:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 61, count)
    rows = [rng.integers(3, vocab - 1, length).tolist() for length in lengths]
    return Texts(rows, rng.integers(3, vocab - 1, (count, LABELS)))


def ours(model: Model, params: Any, sizes: tuple[int, ...]) -> Side:
    """What is timed here, by name; each waits until it is done."""
    vocab = model.module.config.vocab
    prefill = jax.jit(lambda params, read: model.prefill(params, read, 0)[1])
    answer = jax.jit(lambda params, read: generate(model, params, read, steps=STEPS))
    found: Side = {}
    for size in sizes:
        read = of(texts(size, vocab))
        found[f"prefill {size}"] = lambda read=read: np.asarray(
            prefill(params, read).astype(jnp.float32)
        )
        found[f"decode {size}"] = lambda read=read: np.asarray(answer(params, read))
    step, *arguments = training(model, params)
    found[f"train {TRAINED}"] = lambda: float(jax.block_until_ready(step(*arguments))[0])
    return found


def training(model: Model, params: Any) -> tuple[Any, Any, Any, Tokens]:
    """The compiled loss and gradient of an adapter, and its arguments."""
    adapter = adapters.init(jax.random.key(0), params, LAYERS, RANK)
    learnt = texts(TRAINED, model.module.config.vocab)
    read = of(learnt)
    fill, weight = float(read.mask.mean()), jnp.ones(learnt.labels.shape)

    def loss(adapter: Any, params: Any, read: Tokens) -> jax.Array:
        nothing = Tokens(read.ids[:, :0], read.mask[:, :0])
        asked = Examples(packed(read, fill), nothing, nothing, jnp.asarray(learnt.labels), weight)
        logits = model.logits(params, asked, interventions=adapters.interventions(adapter))
        return -token_log_probs(logits.astype(jnp.float32), asked.labels).mean()

    return jax.jit(jax.value_and_grad(loss)), adapter, params, read


def of(drawn: Texts) -> Tokens:
    return jax.tree.map(jnp.asarray, pad(drawn.prompts, max(map(len, drawn.prompts))))


def theirs(hf: LlamaConfig, model: Model, params: Any, sizes: tuple[int, ...], device: str) -> Side:
    """The same in PyTorch."""
    import torch

    module = filled(hf, model, params, device)

    def prefill(asked: dict[str, Any]) -> Any:
        with torch.inference_mode():
            return module(**asked, use_cache=True, logits_to_keep=1).logits[:, -1].float().cpu()

    def answer(asked: dict[str, Any]) -> Any:
        with torch.inference_mode():
            said = module.generate(
                **asked, max_new_tokens=STEPS, min_new_tokens=STEPS, do_sample=False
            )
        return said[:, -STEPS:].cpu()

    found: Side = {}
    for size in sizes:
        asked = left(texts(size, hf.vocab_size).prompts, device)
        found[f"prefill {size}"] = lambda asked=asked: prefill(asked).numpy()
        found[f"decode {size}"] = lambda asked=asked: answer(asked).numpy()
    found[f"train {TRAINED}"] = their_training(filled(hf, model, params, device))
    return found


def filled(hf: LlamaConfig, model: Model, params: Any, device: str) -> Any:
    """The module of `transformers` with the same weights, which are not trained."""
    import torch
    import transformers

    config = transformers.LlamaConfig.from_dict(hf.to_dict())
    config._attn_implementation = "sdpa"
    module: Any = transformers.LlamaForCausalLM(config).eval()
    weights = convert.to_hf(
        {path: np.asarray(leaf, np.float32) for path, leaf in convert.flatten(params).items()},
        model.network.rules,
        transposed=model.network.transposed,
    )
    names = module.state_dict()
    missing, unexpected = module.load_state_dict(
        {
            key if key in names else f"model.{key}": torch.tensor(np.array(array))
            for key, array in weights.items()
        },
        strict=False,
    )
    assert not unexpected, unexpected
    assert set(missing) <= {"lm_head.weight"}, missing
    module.tie_weights()
    module = module.to(device, getattr(torch, str(jax.tree.leaves(params)[0].dtype)))
    return module.requires_grad_(False)


def left(rows: list[list[int]], device: Any) -> dict[str, Any]:
    """Rows padded on the left, as `transformers` generates from them."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def their_training(module: Any) -> Callable[[], float]:
    """The loss and gradient of an adapter of every linear layer."""
    import torch

    factors: list[Any] = []
    for layer in module.model.layers.modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        down = torch.empty(layer.in_features, RANK).uniform_(-1, 1) * layer.in_features**-0.5
        pair = [
            factor.to(module.device, module.dtype).requires_grad_()
            for factor in (down, torch.zeros(RANK, layer.out_features))
        ]
        factors += pair

        def low_rank(_: Any, read: Any, said: Any, pair: list[Any] = pair) -> Any:
            return said + read[0] @ pair[0] @ pair[1]

        layer.register_forward_hook(low_rank)
    learnt = texts(TRAINED, module.config.vocab_size)
    labels = torch.tensor(learnt.labels)
    rows = [
        [*prompt, *answer[:-1]]
        for prompt, answer in zip(learnt.prompts, labels.tolist(), strict=True)
    ]
    asked, labels = left(rows, module.device), labels.to(module.device)

    def train() -> float:
        logits = module(**asked, use_cache=False, logits_to_keep=LABELS).logits.float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        torch.autograd.grad(loss, factors)
        return float(loss.detach())

    return train


def difference(one: Side, other: Side) -> dict[str, float]:
    """How far the two are apart: of logits, the largest difference by the largest logit; of
    answers, the share of other tokens; of losses, the difference by the loss."""
    found: dict[str, float] = {}
    for name in one:
        a, b = np.asarray(one[name]()), np.asarray(other[name]())
        if name.startswith("decode"):
            found[name] = float((a != b).mean())
        else:
            found[name] = float(np.abs(a - b).max() / np.abs(b).max())
    return found


def compare(one: Side, other: Side, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of both, by turns, and how many times faster the first is."""
    table: dict[str, dict[str, float]] = {}
    for name in one:
        timed = by_turns({"ours": one[name], "theirs": other[name]}, rounds)
        ours, theirs = timed["ours"].seconds, timed["theirs"].seconds
        table[name] = {"ours": ours, "theirs": theirs, "ratio": theirs / ours}
    return table


def show(table: dict[str, dict[str, float]], apart: dict[str, float]) -> None:
    print(f"{'':<12}{'here, s':>10}{'PyTorch, s':>12}{'ratio':>8}{'apart':>10}")
    for name, row in table.items():
        print(
            f"{name:<12}{row['ours']:>10.4f}{row['theirs']:>12.4f}{row['ratio']:>8.2f}"
            f"{apart[name]:>10.1e}"
        )
    ratios = [row["ratio"] for row in table.values()]
    print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}")


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--layers", type=int, default=SMOLLM2.num_hidden_layers)
    parser.add_argument("--sizes", default="1,10", help="rows of prefill and decoding")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return parser


def main() -> None:
    options = arguments(__doc__).parse_args()
    hf = LlamaConfig.from_dict(SMOLLM2.to_dict() | {"num_hidden_layers": options.layers})
    sizes = tuple(map(int, options.sizes.split(",")))
    dtype = jnp.dtype(options.dtype)
    model, params = real_size.random_model(hf, dtype=dtype)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    one, other = ours(model, params, sizes), theirs(hf, model, params, sizes, "cpu")
    apart = difference(one, other)
    if options.dtype == "float32":
        assert max(apart.values()) < 1e-3, apart
    table = compare(one, other, options.rounds)
    show(table, apart)
    if options.json:
        options.json.write_text(json.dumps({"table": table, "apart": apart}, indent=2))


if __name__ == "__main__":
    main()
