"""One SERAC training step at real size: FLOPs against what the loss needs, and time against computing what the original computes.

    python -m benchmarks.train_step            ours beside the original's work, both in JAX
    python -m benchmarks.train_step --torch    and beside the original's work in PyTorch (needs torch and transformers)

Prints ratios of medians; every pair is timed by turns in one process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import real_size
from benchmarks.real_size import CONTEXT, DISTILBERT, EDITS, LABEL, PREFIX, QUERY, SMALL_T5
from configs import common
from serac_jax import training
from serac_jax.batch import EditBatch
from serac_jax.sharding import make_mesh

TRAIN = common.get_config().train
ACCUMULATE = TRAIN.accumulate


def dense(rows: int, *pairs: tuple[int, int]) -> int:
    """FLOPs of `rows` vectors through matrices of these sizes."""
    return sum(2 * rows * a * b for a, b in pairs)


def needed() -> int:
    """FLOPs of the matrix products that the loss and its gradient need: thrice the forward pass (Kaplan et al. 2020, section 2.1)."""
    t5, bert = SMALL_T5, DISTILBERT
    inner = t5.num_heads * t5.d_kv
    projections, mlp = [(t5.d_model, inner)] * 4, [(t5.d_model, t5.d_ff)] * 2
    read, written = EDITS * (PREFIX + QUERY), EDITS * LABEL

    def attention(rows: int, queries: int, keys: int, width: int) -> int:
        return 2 * 2 * rows * queries * keys * width

    encoder = dense(read, *projections, *mlp) + attention(EDITS, PREFIX + QUERY, PREFIX + QUERY, inner)
    own = dense(written, *projections) + attention(EDITS, LABEL, LABEL, inner)
    cross = dense(written, *projections[:2]) + dense(read, *projections[:2]) + attention(EDITS, LABEL, PREFIX + QUERY, inner)
    forward = t5.num_layers * encoder + t5.num_layers * (own + cross + dense(written, *mlp)) + dense(written, (t5.d_model, t5.vocab_size))

    for width in (CONTEXT, QUERY, QUERY):  # every edit, in-scope query and out-of-scope query once
        rows, square = EDITS * width, (bert.dim, bert.dim)
        full = dense(rows, *[square] * 4, *[(bert.dim, bert.hidden_dim)] * 2) + attention(EDITS, width, width, bert.dim)
        last = dense(rows, *[square] * 2) + dense(EDITS, *[square] * 2, *[(bert.dim, bert.hidden_dim)] * 2) + attention(EDITS, 1, width, bert.dim)
        forward += (bert.n_layers - 1) * full + last  # of the last layer only the first token is read
    return 3 * forward


def original_work(editor: Any, base: Any, state: training.TrainState) -> Callable[..., Any]:
    """A step that also computes what the original's step computes and only its metrics read, written with our networks.

    The base model on the out-of-scope queries twice and the in-scope queries once, every stored edit embedded for each
    side, and the counterfactual model given the retrieved edits of both sides. No gradient flows through these.
    """
    plain = training.make_train_step(editor, state, ACCUMULATE, 0).__wrapped__

    def step(state: Any, base_params: Any, batch: EditBatch) -> Any:
        after, metrics = plain(state, base_params, batch)
        edited = editor.edit(state.params, editor.start(state.params, base_params, batch.edits), batch.edits)
        extra = [base.logits(base_params, queries).sum() for queries in (batch.outside, batch.inside)]
        extra += [editor.apply(state.params, edited, queries).sum() for queries in (batch.inside, batch.outside)]
        return after, metrics | {"extra": (sum(extra), jnp.float32(1))}

    return jax.jit(step, donate_argnums=0, out_shardings=(training.placement(state), None))


def held(step: Callable[..., Any], state: Any, *args: Any) -> Callable[[], None]:
    """The step as a function without arguments that waits for its result; it donates its state, and so keeps the new one."""

    def run() -> None:
        nonlocal state
        out = jax.block_until_ready(step(state, *args))
        state = out if isinstance(out, training.TrainState) else out[0]

    return run


def by_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each function; a first, compiling call of each does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", action="store_true", help="also time the original's work in PyTorch")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each kind (default 5)")
    arguments = parser.parse_args()

    editor, base, base_params, params = real_size.editor()
    batch, optimizer = real_size.batch(), training.make_optimizer(TRAIN, editor)

    def state() -> training.TrainState:
        return training.init_state(editor._replace(init=lambda key, base: params), optimizer, base_params, 0, make_mesh(data=1))

    loss = jax.jit(jax.value_and_grad(training.loss_of(editor), has_aux=True)).lower(params, base_params, batch, None).compile()
    counted, hand = dict(loss.cost_analysis() or {})["flops"], needed()
    print(f"FLOPs of loss and gradient: {counted / 1e9:.1f} G counted by XLA, {hand / 1e9:.1f} G needed, ratio {counted / hand:.3f}")

    begun = state()
    functions = {
        "ours": held(training.make_train_step(editor, begun, ACCUMULATE, 0), begun, base_params, batch),
        "the original's work": held(original_work(editor, base, begun), state(), base_params, batch),
        "optimizer": held(training.make_update_step(optimizer, begun), state()),
    }
    if arguments.torch:
        from benchmarks.torch_step import make_step

        functions["the original's work in PyTorch"] = make_step()
    seconds = by_turns(functions, arguments.repeats)
    print(f"median seconds a batch: {', '.join(f'{name} {value:.2f}' for name, value in seconds.items() if name != 'optimizer')}")
    print(f"a step of the optimizer, once every {ACCUMULATE} batches: {seconds['optimizer']:.2f}")
    for name in set(seconds) - {"ours", "optimizer"}:
        print(f"ours ÷ {name}: {seconds['ours'] / seconds[name]:.3f}")


if __name__ == "__main__":
    main()
