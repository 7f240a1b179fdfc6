"""ConvSent as a TFDS data set, built from the files of the original's archive.

Under one folder, sentiment/blender_{split}.json: a list of {"ent": a topic, "pos": [what someone
who likes it says], "neg": […]}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from serac_jax.tasks.row_files import check_text, check_texts, expect, read_json
from serac_jax.text.queries import DataError

SPLITS = ("train", "val", "test")
ROWS = "blender_{}.json"


class ConvSent(tfds.core.GeneratorBasedBuilder):
    """Topics on which there are opinions of both kinds."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, folder: Path, **options: Any):
        self.folder = Path(folder)
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        text, texts = tfds.features.Text(), tfds.features.Sequence(tfds.features.Text())
        features = {"topic": text, "positive": texts, "negative": texts, "source": text}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {
            split: self._generate_examples(split)
            for split in SPLITS
            if (self.folder / ROWS.format(split)).exists()
        }

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        file, kept = self.folder / ROWS.format(split), 0
        for number, row in enumerate(read_rows(file)):
            if row["positive"] and row["negative"]:
                kept += 1
                yield number, row
        if not kept:
            raise DataError(f"{file} is empty: no row has both a positive and a negative opinion")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file. Raises DataError with file, row and field where one is malformed."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(
            f"{path}: expected a list of {{'ent', 'pos', 'neg'}}, got {type(rows).__name__}"
        )
    for number, row in enumerate(rows, 1):
        where = f"{path}: row {number}"
        positive, negative = (
            check_texts(expect(row, field, list, where), f"{where}: field {field!r}")
            for field in ("pos", "neg")
        )
        topic = check_text(expect(row, "ent", str, where), f"{where}: field 'ent'")
        yield {
            "topic": topic,
            "positive": positive,
            "negative": negative,
            "source": f"{path.name}: row {number}",
        }
