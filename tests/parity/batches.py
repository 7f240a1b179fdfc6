"""Recorded batches: their texts, through the program's own encoder, give the recorded token ids,
masks and labels.

Which rows and forms were drawn is not compared: the original draws from one random stream, we from
a function of seed, split and step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from serac_jax.tasks.fnli import fnli_questions
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query, TextBatch
from tests.parity import golden
from tests.parity.compare import Comparison
from tests.parity.recorded import cropped, words

SIDES = {"edit_inner": "edits", "edit_outer": "inside", "loc": "outside"}


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    recorded, task = golden.batch(cases, comparison.name), case.manifest["task"]
    tokenizer = AutoTokenizer.from_pretrained(root / case.manifest["tokenizer"])
    pairs = recorded["pos_pairs"].reshape(-1, 2)
    labels = {
        side: (
            recorded[side]["labels"]
            if recorded[side]["labels"].ndim == 2
            else recorded[side]["labels"][:, None]
        )
        for side in SIDES
    }
    classes = fnli_questions.CLASSES if task == "fnli" else ()

    def queries(side: str) -> list[Query]:
        ids, known = recorded[side]["input_ids"], labels[side] >= 0
        texts = words(tokenizer, ids) if len(ids) else []
        answers = (
            [classes[row[0]] if row[0] >= 0 else "" for row in labels[side]]
            if classes
            else words(tokenizer, np.where(known, labels[side], -100))
        )
        return [Query(text, answer) for text, answer in zip(texts, answers, strict=True)]

    found = {side: queries(side) for side in SIDES}
    widths = [
        max(recorded[side]["input_ids"].shape[1] for side in SIDES),
        max(rows.shape[1] for rows in labels.values()),
    ]
    encode = Encoder(
        tokenizer, None, (widths[0],), (widths[1],), cut_labels=not classes, classes=classes
    )
    inside, edit_of = (
        (found["edit_outer"], pairs[:, 1].tolist()) if len(pairs) else ([None], [0])
    )  # a batch may ask nothing in scope
    batch = encode(
        TextBatch(found["edit_inner"], inside, edit_of, found["loc"], range(len(found["loc"])))
    )
    comparison.check(
        "pos_pairs", np.stack([np.arange(len(pairs)), batch.edit_of[: len(pairs)]], 1), pairs
    )
    for side, name in [(side, name) for side, name in SIDES.items() if found[side]]:
        ours, theirs = getattr(batch, name), recorded[side]
        comparison.check(
            f"{side}/input_ids", cropped(ours.inputs.ids, theirs["input_ids"]), theirs["input_ids"]
        )
        if np.array_equal(theirs["attention_mask"], theirs["input_ids"]):
            comparison.depart("masks out of scope are true masks, not token ids")
        else:
            comparison.check(
                f"{side}/attention_mask",
                cropped(ours.inputs.mask, theirs["attention_mask"]),
                theirs["attention_mask"] > 0,
            )
        known = labels[side] >= 0
        comparison.check(f"{side}/labels", cropped(ours.labels, known), labels[side], known)
        if known.any():
            comparison.check(f"{side}/label weights", cropped(ours.weight, known) > 0, known)
    if task == "fnli":
        compare_pages(comparison, recorded)


def compare_pages(comparison: Comparison, recorded: dict[str, Any]) -> None:
    """Our rules put the recorded rows together, and give the recorded claims the part that they
    play."""
    pages, hard = recorded["pages"], np.array(recorded["hard_neg_mask"])
    comparison.check(
        "pages",
        fnli_questions.pack(range(len(pages)), pages, len(pages)),
        np.arange(len(pages))[None],
    )
    same = np.array(
        [
            fnli_questions.overlap(page, other)
            for page, other in zip(pages, recorded["loc_pages"], strict=True)
        ]
    )
    comparison.check("hard_neg_mask", same, hard)
    asked = np.setdiff1d(np.arange(len(pages)), recorded["pos_pairs"].reshape(-1, 2)[:, 1])
    comparison.check("rows without a query in scope", asked, np.flatnonzero(hard))
