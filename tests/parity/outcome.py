"""What an edit did to a batch's queries: recorded logits and the original's scalars, for editors that have no more to show."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from serac_jax.batch import EditBatch
from tests.parity import golden, recorded
from tests.parity.compare import Comparison
from tests.parity.recorded import cropped, kl_rounding


class Outcome(NamedTuple):
    """Logits of a batch's queries before and after its edits."""

    inside_before: Any
    outside_before: Any
    inside: Any
    outside: Any


def compare_outcome(comparison: Comparison, case: golden.Case, prefix: str, found: Outcome, batch: EditBatch) -> None:
    """The logits on labelled positions, and every scalar that the original logged and that has a counterpart."""
    for name, ours, queries in (
        ("base_logits_outer", found.inside_before, batch.inside),
        ("base_logits_loc", found.outside_before, batch.outside),
        ("loss0/pred", found.inside, batch.inside),
        ("kl0/pre", found.outside_before, batch.outside),
        ("kl0/post", found.outside, batch.outside),
    ):
        theirs = case.get(f"{prefix}/{name}")
        if theirs is not None:
            theirs = theirs[: len(ours)]  # which may be of queries that a limit leaves out
            comparison.check(f"{prefix}/{name}", cropped(ours, theirs), theirs, cropped(queries.weight, theirs) > 0)
    info = case.manifest["values"].get(f"{prefix}/info", {})
    lost = kl_rounding(found.outside_before, found.outside, batch.outside.weight)
    for name, value in scalars(case.manifest["config"], found, batch).items():
        if name in info:
            rounding = lost if name in ("loss/loc", "kl/edit") else 0.0
            comparison.check(f"{prefix}/info/{name}", np.float32(value), np.float32(info[name]), rounding=rounding)


def scalars(config: dict[str, Any], found: Outcome, batch: EditBatch) -> dict[str, float]:
    """The original's scalars, computed from ours."""
    values = recorded.scalars(batch, found.inside, found.outside_before, found.outside, config["unlikelihood"])
    total = config["cedit"] * values["loss/edit"] + config["cloc"] * values["loss/loc"]
    return {name: float(value) for name, value in values.items()} | {"loss/total": float(total), "loss/total_edit": float(total)}
