"""Checkpoints of a run: the last and the best, written in the background.

A killed run resumes from them bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from serac_jax.core.errors import UserError
from serac_jax.core.sharding import place
from serac_jax.editors.protocol import Editor
from serac_jax.training.steps import TrainState


class Checkpoints:
    """Saves parameters, optimizer state, position in the data and the loop's own numbers."""

    def __init__(self, workdir: Path):
        last = policies.LatestN(1)
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["loss"],
            reverse=True,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([last, best])
        )
        self.manager = ocp.CheckpointManager((workdir / "checkpoints").resolve(), options=options)

    def save(
        self,
        state: TrainState,
        data: grain.DatasetIterator,
        loop: dict[str, float],
        val_loss: float | None,
    ) -> None:
        """Writes in the background; a run killed meanwhile resumes from the previous checkpoint."""
        step = int(jax.device_get(state.step))
        if self.manager.latest_step() == step:
            return
        self.manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                opt_state=ocp.args.StandardSave(state.opt_state),
                data=ocp.args.JsonSave(data.get_state()),  # the same in every process
                loop=ocp.args.JsonSave(loop),
            ),
            metrics=None if val_loss is None else {"loss": val_loss},
        )

    def restore_or_start(
        self, state: TrainState, data: grain.DatasetIterator, init_from: str
    ) -> tuple[TrainState, dict[str, float]]:
        """Restores the last checkpoint, or starts a new run.

        Args:
          state: What a new run starts from; its shardings are used for what is restored.
          data: Moved to the checkpoint's position.
          init_from: The run whose best parameters a new run starts from, or "".

        Returns:
          The state, and the loop's own numbers.
        """
        step = self.manager.latest_step()
        if step is None:
            if init_from:
                state = state._replace(
                    params=Checkpoints(Path(init_from)).best_params(state.params)[1]
                )
            return state, {}
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        saved: Any = self.manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(abstract.params),
                opt_state=ocp.args.StandardRestore(abstract.opt_state),
                data=ocp.args.JsonRestore(),
                loop=ocp.args.JsonRestore(),
            ),
        )
        data.set_state(saved["data"])
        counted = place(np.asarray(step, state.step.dtype), state.step.sharding)
        return TrainState(counted, saved["params"], saved["opt_state"]), saved["loop"]

    def best_params(self, params: Any) -> tuple[int, Any]:
        """The step and parameters with the lowest validation loss, else of the last checkpoint.

        Args:
          params: Arrays whose shardings are used for what is restored.

        Raises:
          UserError: There is no checkpoint yet.
        """
        last = self.manager.latest_step()
        if last is None:
            raise UserError(
                f"{self.manager.directory.parent} has no checkpoint yet; continue the run until its"
                " first one"
            )
        loop = self.manager.restore(last, args=ocp.args.Composite(loop=ocp.args.JsonRestore()))[
            "loop"
        ]
        step = int(loop.get("best_step", last))
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, params)
        return (
            step,
            self.manager.restore(
                step, args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract))
            )["params"],
        )

    def close(self) -> None:
        """Waits until everything is on disk."""
        self.manager.close()


def trained(workdir: Path, editor: Editor, params: Any) -> tuple[int, Any]:
    """The step and the best parameters of a run; for an editor without training, 0 and `params`."""
    return Checkpoints(workdir).best_params(params) if editor.loss else (0, params)
