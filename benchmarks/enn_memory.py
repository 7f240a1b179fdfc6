"""Device memory of a training step of second-order ENN on T5-large, with and without rematerialisation of the inner step.

    python -m benchmarks.enn_memory                 on 1 device, and split over 8, as the CPU's compiler counts it
    python -m benchmarks.enn_memory --tpu=v5e:2x4   on a v5e-8, as the TPU's compiler counts it (pip install libtpu)

Everything is compiled from shapes: no weights are needed, and nothing runs. The figure of a device holds the frozen base model, what is learned, both
moments of Adam, the mean gradient of the batches so far, and the temporaries of the larger of the two programs of a step.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh
from transformers import T5Config

from benchmarks.real_size import EDITS, network
from configs import common
from serac_jax import sharding, training
from serac_jax.batch import EditBatch, Examples, Tokens
from serac_jax.editors.enn import Options, enn
from serac_jax.models import abstract, convert

LARGE_T5: Any = T5Config.from_dict(
    {"vocab_size": 32128, "d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_heads": 16, "num_layers": 24, "num_decoder_layers": 24, "decoder_start_token_id": 0}
)
QUESTION, LABEL = 32, 8  # the widest questions of zsRE, and its usual width of answers


def placed(tree: Any, mesh: Mesh) -> Any:
    """Shapes where the sharding table puts them."""
    return jax.tree.map(lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree, sharding.shardings(tree, mesh))


def batch(mesh: Mesh) -> EditBatch:
    """Shapes of a batch, which every device holds whole: 10 rows do not divide by 8."""

    def shape(*sizes: int, dtype: Any = jnp.int32) -> Any:
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=sharding.replicated(mesh))

    def tokens(width: int) -> Tokens:
        return Tokens(shape(EDITS, width), shape(EDITS, width, dtype=bool))

    side: Any = Examples(tokens(QUESTION), tokens(0), tokens(0), shape(EDITS, LABEL), shape(EDITS, LABEL, dtype=jnp.float32))
    each, flag = shape(EDITS), shape(EDITS, dtype=bool)
    return EditBatch(side, side, each, flag, flag, side, each, flag)


def programs(mesh: Mesh, remat: bool) -> list[Any]:
    """The training step and the optimizer's step, compiled."""
    config = common.get_config()
    base = network(LARGE_T5)
    editor = enn(base, tuple(config.inner), Options(remat=remat))
    optimizer = training.make_optimizer(config.train, editor)
    base_params = placed(convert.unflatten(abstract(base.module)), mesh)
    state = placed(jax.eval_shape(lambda base: training.init_state(editor, optimizer, base, 0, mesh), base_params), mesh)
    train_step, update_step = training.make_train_step(editor, state, config.train.accumulate, 0), training.make_update_step(optimizer, state)
    return [train_step.lower(state, base_params, batch(mesh)).compile(), update_step.lower(state).compile()]  # type: ignore[attr-defined]


def gigabytes(compiled: Any) -> tuple[float, float]:
    """Of arguments, and of results and temporaries that are not arguments."""
    analysis = compiled.memory_analysis()
    new = analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.argument_size_in_bytes / 1e9, new / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tpu", default="", help="a topology of TPUs, such as v5e:2x4")
    parser.add_argument("--devices", type=int, nargs="*", default=[1, 8], help="over how many devices the model is split")
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", max(arguments.devices))
    topology = topologies.get_topology_desc(platform="tpu", topology_name=arguments.tpu) if arguments.tpu else None
    devices = np.array(topology.devices if topology else jax.devices("cpu"))
    for count in arguments.devices:
        mesh = Mesh(devices[:count].reshape(1, count), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
        for remat in (True, False):
            begun = time.perf_counter()
            train, update = map(gigabytes, programs(mesh, remat))
            print(
                f"{count} {devices[0].device_kind}, remat={remat}: {max(sum(train), sum(update)):.1f} GB a device "
                f"(state and base model {train[0]:.1f}, gradient step +{train[1]:.1f}, optimizer step {update[0]:.1f} +{update[1]:.1f}; "
                f"compiled in {time.perf_counter() - begun:.0f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
