"""What a machine with one NVIDIA GPU should show, in a few minutes and one table: every causal
network computes there what it computes on the CPU; how fast prefill, decoding and a training step
are beside PyTorch in bfloat16; and how much memory a step takes beside what the compiler foresaw.

    python -m benchmarks.gpu_check [--json=FILE]

Nothing is downloaded. Without PyTorch, or without a GPU for it, its column is left out; without any
GPU everything runs on the CPU, and says so.
"""

from __future__ import annotations

import importlib.util
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from transformers import AutoConfig, LlamaConfig, PretrainedConfig

from benchmarks import causal_steps, real_size
from serac_jax.models import NETWORKS

SHAPE = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "eos_token_id": 1,
}
GPT = {
    "vocab_size": 320,
    "n_embd": 64,
    "n_inner": 96,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "rotary_dim": 8,
    "eos_token_id": 1,
    "bos_token_id": 1,
}
CAUSAL = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gpt2", "gptj")
MOST = 1e-4  # of the largest logit, in float32 with exact products


def tiny(name: str) -> PretrainedConfig:
    """A small configuration of a network."""
    return AutoConfig.for_model(name, **(GPT if name.startswith("gpt") else SHAPE))


def apart(name: str, device: Any) -> float:
    """The largest difference of logits on a device and on the CPU, by the largest logit."""
    model, params = real_size.random_model(tiny(name))
    read = causal_steps.of(causal_steps.texts(4, 320))
    found: list[np.ndarray] = []
    for where in (device, jax.devices("cpu")[0]):
        placed = jax.device_put((params, read), where)
        with jax.default_matmul_precision("highest"):
            logits = jax.jit(lambda params, read: model.prefill(params, read, 0)[1])(*placed)
        found.append(np.asarray(logits))
    return float(np.abs(found[0] - found[1]).max() / np.abs(found[1]).max())


def memory(model: Any, params: Any, device: Any) -> dict[str, float | None]:
    """Gigabytes of a training step: as compiled ahead of time, and the peak as measured."""
    step, *arguments = causal_steps.training(model, params)
    compiled = step.lower(*arguments).compile()
    counted = compiled.memory_analysis()
    foreseen = (
        counted.argument_size_in_bytes + counted.output_size_in_bytes + counted.temp_size_in_bytes
    )
    jax.block_until_ready(compiled(*arguments))
    measured = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {"foreseen": foreseen / 1e9, "peak": measured and measured / 1e9}


def torch_device(gpu: bool) -> str | None:
    """Where PyTorch runs beside us; None: it cannot."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    if not gpu:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else None


def main() -> None:
    parser = causal_steps.arguments(__doc__)
    parser.set_defaults(dtype="bfloat16")
    options, begun = parser.parse_args(), time.perf_counter()
    device = jax.devices()[0]
    gpu = device.platform == "gpu"
    print(f"JAX {jax.__version__} on {device.device_kind}")
    if not gpu:
        print("no GPU: these are figures of the CPU, and say nothing of one")

    print("\nlogits here and on the CPU, float32, apart by the largest logit:")
    parity = {name: apart(name, device) for name in CAUSAL if name in NETWORKS}
    for name, found in parity.items():
        print(f"  {name:<12}{found:>10.1e}{'' if found < MOST else '  TOO FAR'}")

    dtype, sizes = jnp.dtype(options.dtype), tuple(map(int, options.sizes.split(",")))
    hf = LlamaConfig.from_dict(
        causal_steps.SMOLLM2.to_dict() | {"num_hidden_layers": options.layers}
    )
    model, params = real_size.random_model(hf, dtype=dtype)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    held = memory(model, params, device)
    print(f"\na training step of {causal_steps.TRAINED} texts, {options.dtype}:")
    print(f"  foreseen {held['foreseen']:.2f} GB, peak ", end="")
    print("not told by this device" if held["peak"] is None else f"{held['peak']:.2f} GB")

    one, where = causal_steps.ours(model, params, sizes), torch_device(gpu)
    table: dict[str, dict[str, float]] = {}
    print(f"\nspeed, {options.dtype}:")
    if where:
        other = causal_steps.theirs(hf, model, params, sizes, where)
        differences = causal_steps.difference(one, other)
        table = causal_steps.compare(one, other, options.rounds)
        causal_steps.show(table, differences)
    else:
        print("  PyTorch is not there, or sees no GPU; ours alone")
        table = {
            name: {"ours": timed.seconds}
            for name, timed in causal_steps.by_turns(one, options.rounds).items()
        }
        for name, row in table.items():
            print(f"  {name:<12}{row['ours']:>10.4f} s")
    print(f"\n{time.perf_counter() - begun:.0f} s")
    if options.json:
        found = {"device": device.device_kind, "parity": parity, "memory": held, "speed": table}
        options.json.write_text(json.dumps(found, indent=2))
    if max(parity.values()) >= MOST:
        raise SystemExit("the networks do not compute on this device what they do on the CPU")


if __name__ == "__main__":
    main()
