"""What an edit did to a batch's queries: recorded logits and the original's scalars, for editors
that have no more to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serac_jax.core.batch import EditBatch
from serac_jax.core.types import Params
from serac_jax.models import Model
from tests.parity import classes, golden, recorded
from tests.parity.compare import Comparison
from tests.parity.recorded import Reader, cropped, kl_rounding


class Outcome(NamedTuple):
    """Logits of a batch's queries before and after its edits."""

    inside_before: Any
    outside_before: Any
    inside: Any
    outside: Any


def load_base(
    manifest: dict[str, Any], root: Path, comparison: Comparison
) -> tuple[Model, Params, Reader]:
    """The model that a case edits, and what reads its batches."""
    if classes.checks_facts(manifest["config"]):
        base, params = classes.load_checker(manifest["config"], root)
        return base, params, classes.ClassReader(base.tokenizer)
    base, params = recorded.load_base(manifest, root, comparison)
    return base, params, Reader(base.tokenizer)


def check(comparison: Comparison, case: golden.Case, name: str, ours: Any, weight: Any) -> None:
    """Logits on labelled positions, if they were recorded; of two classes, the one logit that says
    the same."""
    if name in case:
        ours = ours[..., 1] - ours[..., 0] if case[name].ndim == 2 else ours
        theirs = case[name][: len(ours)]  # which may be of queries that a limit leaves out
        comparison.check(name, cropped(ours, theirs), theirs, cropped(weight, theirs) > 0)


def compare_outcome(
    comparison: Comparison,
    case: golden.Case,
    prefix: str,
    found: Outcome,
    batch: EditBatch,
    two_classes: bool = False,
) -> None:
    """The logits, and every scalar that the original logged and that has a counterpart."""
    for name, ours, queries in (
        ("base_logits_outer", found.inside_before, batch.inside),
        ("base_logits_loc", found.outside_before, batch.outside),
        ("loss0/pred", found.inside, batch.inside),
        ("kl0/pre", found.outside_before, batch.outside),
        ("kl0/post", found.outside, batch.outside),
    ):
        check(comparison, case, f"{prefix}/{name}", ours, queries.weight)
    info = case.manifest["values"].get(f"{prefix}/info", {})
    lost = lost_of(comparison, case.manifest["config"], prefix, found, batch)
    values = scalars(case.manifest["config"], found, batch)
    if two_classes:
        values["edit/prob"] = float(classes.mean_probability(found.inside, batch.inside))
    if "edit/acc_sent" in info:
        values |= {
            name: float(value)
            for name, value in recorded.sentiment(batch, found.inside_before, found.inside).items()
        }
    for name, value in values.items():
        if name in info:
            comparison.check(
                f"{prefix}/info/{name}",
                np.float32(value),
                np.float32(info[name]),
                rounding=lost.get(name, 0.0),
            )


def lost_of(
    comparison: Comparison, config: dict[str, Any], prefix: str, found: Outcome, batch: EditBatch
) -> dict[str, float]:
    """How far two programs in float32 may be apart in scalars of logits whose noise is recorded.

    Each program is off by this noise in the logits, and a loss by at most twice as much as its
    logits."""
    answer, kl = (4 * comparison.noise_of(f"{prefix}/{logits}") for logits in ("loss0", "kl0"))
    kl = max(kl, kl_rounding(found.outside_before, found.outside, batch.outside.weight))
    total = config["cedit"] * answer + config["cloc"] * kl
    return {
        "loss/edit": answer,
        "edit/log_prob": answer,
        "loss/loc": kl,
        "kl/edit": kl,
        "loss/total": total,
        "loss/total_edit": total,
    }


def scalars(config: dict[str, Any], found: Outcome, batch: EditBatch) -> dict[str, float]:
    """The original's scalars, computed from ours."""
    values = recorded.scalars(
        batch, found.inside, found.outside_before, found.outside, config["unlikelihood"]
    )
    total = config["cedit"] * values["loss/edit"] + config["cloc"] * values["loss/loc"]
    return {name: float(value) for name, value in values.items()} | {
        "loss/total": float(total),
        "loss/total_edit": float(total),
    }
