"""A loaded editor that answers: `load`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from serac_jax.edits.same_prompt import Conflict as Conflict
from serac_jax.edits.store import Store
from serac_jax.index.blocked import BlockedIndex as BlockedIndex
from serac_jax.runtime import program
from serac_jax.serving import saved_editor
from serac_jax.serving.answers import Answer as Answer
from serac_jax.serving.answers import Why as Why
from serac_jax.serving.insert import Contradiction as Contradiction
from serac_jax.serving.insert import ContradictionRefused as ContradictionRefused
from serac_jax.serving.matching import MakeIndex
from serac_jax.serving.saved_editor import OtherWeights as OtherWeights
from serac_jax.serving.service import EditorService as EditorService


class Uncalibrated(UserWarning):
    """The threshold of a loaded editor was never fitted to a false-positive rate."""


def load(
    name: str | Path = "mini",
    *,
    memory: str | Path | Store | None = None,
    base: Callable[[str], str] | None = None,
    rerank: str = "",
    index: MakeIndex | None = None,
    mesh: Mapping[str, int] | None = None,
    dtype: str | None = None,
) -> EditorService:
    """Loads an editor that answers questions.

    Warns with `Uncalibrated` where its threshold is the default or a config's.

    Args:
        name: "mini" (or "mini/fnli", "mini/sent") for a shipped editor; the folder of a run, or one
            that `save` has written; or a repository of the Hugging Face Hub that holds such a
            folder.
        memory: the file of its edits, which need not exist yet; None: a memory of this process,
            which `editor.memory.save` writes.
        base: the base model as a function from a text to a text, instead of the editor's own, which
            is then not loaded.
        rerank: a cross-attention scope classifier, by the name of its model: it reads again the
            edits that embeddings propose.
        index: makes what searches keys, from their width and distance:
            `functools.partial(BlockedIndex, keys="int8")`, or one of yours.
        mesh: devices to work on together, as in a run's config: `{"data": 4, "model": 2}` splits
            every model over 2 and the rows of what it reads over 4; keys are split over all 8. By
            default one device does everything.
        dtype: what the base model's weights are held in, and what is computed in: "float32", or
            "bfloat16", which halves the memory of the weights. Networks that were trained keep
            float32 weights. None: as the editor was trained and saved.

    Returns:
        The editor.

    Warns:
        OtherWeights: a saved editor's model has other weights than it was made with.

    Raises:
        UserError: something is missing or does not fit; the message says what to do.
    """
    program.use_compilation_cache(program.default_cache())
    parts = saved_editor.find(str(name), base=base is None, rerank=rerank, mesh=mesh, dtype=dtype)
    if parts.spec.calibration is None:
        warnings.warn(
            "this editor's threshold is not calibrated; `calibrate` fits it to a false-positive"
            " rate",
            Uncalibrated,
            stacklevel=2,
        )
    index = index or partial(BlockedIndex, devices=saved_editor.devices(mesh))
    return EditorService(
        parts, memory if isinstance(memory, Store) else Store.open(memory), base, index
    )
