"""The parts of the campaign. One more is one function and one line.

A part is a function that is given a source of random numbers and an empty folder, does one trial of
a few seconds, and returns how many things it tried. Whatever it raises is a failure. A parser
is one line: what reads an input, and inputs that are right, which are then damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tools.campaign import (
    command_lines,
    data_readers,
    drawn_rows,
    full_disks,
    killed_programs,
    killed_runs,
    many_threads,
    model_files,
    readers,
    soak,
)
from tools.campaign.fuzzing import fuzzed

ZSRE = "zsre/structured_zeroshot-dev-new_annotated_final.jsonl"
# What reads an input, and what makes inputs that are right.
PARSERS: dict[str, tuple[Callable[[bytes, Path], object], Callable[[], Sequence[bytes]]]] = {
    "memory-files": (readers.memory_file, readers.MEMORY),
    "journals": (readers.journal, readers.JOURNAL),
    "opened-memories": (readers.opened_memory, readers.JOURNAL),
    "forged-memories": (readers.forged_memory, readers.JOURNAL),
    "imported-files": (readers.imported, readers.ROWS),
    "facts": (readers.facts, readers.FACTS),
    "trials": (readers.trials, readers.TRIALS),
    "editor.json": (readers.editor_spec, readers.EDITORS),
    "zsre-rows": (data_readers.zsre, data_readers.first_rows(ZSRE)),
    "fnli-rows": (data_readers.fnli, data_readers.first_rows("vitaminc/dev.jsonl")),
    "sent-rows": (data_readers.sent, data_readers.SENT),
    "published-forms": (data_readers.published, data_readers.PUBLISHED),
    "torch-files": (data_readers.torch_file, data_readers.TORCH),
    "safetensors": (model_files.safetensors, model_files.SAFETENSORS),
    "gguf-files": (model_files.gguf_file, model_files.GGUF),
    "http-bodies": (data_readers.body, data_readers.BODIES),
}
PARTS: dict[str, Callable[[Random, Path], int]] = {
    "killed-writers": killed_programs.writers,
    "killed-repairs": killed_programs.repairs,
    "killed-training": killed_runs.training,
    "killed-servers": killed_runs.servers,
    "full-disks": full_disks.trial,
    "threads": many_threads.trial,
    "served": soak.trial,
    "command-lines": command_lines.trial,
    "drawn-rows": drawn_rows.trial,
    "model-folders": model_files.model_folders,
    "adapter-folders": model_files.adapter_folders,
    "checkpoints": model_files.checkpoints,
    **{name: fuzzed(*parser) for name, parser in PARSERS.items()},
}
