"""The editors and tasks that a config can name: one folder and one line each."""

from __future__ import annotations

from serac_jax.core.errors import UserError
from serac_jax.editors import adapter_serac, enn, finetune, lookup, mend, serac
from serac_jax.editors.protocol import EditorFolder
from serac_jax.tasks import fnli, sent, zsre
from serac_jax.tasks.facts import fact_task
from serac_jax.tasks.task import TaskFolder

EDITORS: dict[str, EditorFolder] = {
    "serac": serac,
    "adapter_serac": adapter_serac,
    "mend": mend,
    "enn": enn,
    "lookup": lookup,
    "finetune": finetune,
}
TASKS: dict[str, TaskFolder] = {
    "zsre": zsre,
    "fnli": fnli,
    "sent": sent,
    "facts": fact_task,
}


def editor(name: str) -> EditorFolder:
    """The folder of an editor. Raises UserError where there is none of this name."""
    if name not in EDITORS:
        raise UserError(f"editor={name!r} is not known; use one of {', '.join(EDITORS)}")
    return EDITORS[name]


def task(name: str) -> TaskFolder:
    """The folder of a task. Raises UserError where there is none of this name."""
    if name not in TASKS:
        raise UserError(f"task={name!r} is not known; use one of {', '.join(TASKS)}")
    return TASKS[name]
