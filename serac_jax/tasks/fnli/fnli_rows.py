"""VitaminC (Schuster et al. 2021) as a TFDS data set, built from the files of the original's
archive.

vitaminc/{train,dev,test}.jsonl: one claim a line, with the fields claim, evidence, label (one of
LABELS), page and revision_type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from serac_jax.tasks.row_files import check_text, expect, read_json_lines
from serac_jax.text.queries import DataError

SPLITS = ("train", "dev", "test")
LABELS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
FIELDS = ("claim", "evidence", "label", "page", "source")
MIN_WORDS = 10  # shorter evidence says too little to be an edit


class VitaminC(tfds.core.GeneratorBasedBuilder):
    """Rows of real revisions whose evidence has more than ten words."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, folder: Path, **options: Any):
        self.folder = Path(folder)
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {field: tfds.features.Text() for field in FIELDS}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {
            split: self._generate_examples(split)
            for split in SPLITS
            if (self.folder / f"{split}.jsonl").exists()
        }

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        file, kept = self.folder / f"{split}.jsonl", 0
        for number, (row, revision) in enumerate(read_rows(file)):
            if revision == "real" and len(row["evidence"].split(" ")) > MIN_WORDS:
                kept += 1
                yield number, row
        if not kept:
            raise DataError(
                f"{file} is empty: no row has revision_type 'real' and evidence of more than"
                f" {MIN_WORDS} words"
            )


def read_rows(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """The rows of a file and their revision types. Raises DataError with file, line and field where
    one is malformed."""
    for where, row in read_json_lines(path):
        texts = {
            field: check_text(expect(row, field, str, where), f"{where}: field {field!r}")
            for field in FIELDS[:-1]
        }
        if texts["label"] not in LABELS:
            raise DataError(
                f"{where}: field 'label' is {texts['label'][:60]!r}; expected one of"
                f" {', '.join(LABELS)}"
            )
        yield (
            texts | {"source": where.removeprefix(f"{path.parent}/")},
            expect(row, "revision_type", str, where),
        )
