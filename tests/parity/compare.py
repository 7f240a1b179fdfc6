"""Differences of one case, in units of their tolerance."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Comparison:
    """Collects, for one case, the largest difference ÷ tolerance of what was compared."""

    name: str
    noise: dict[str, Any]
    ratios: dict[str, float] = field(default_factory=dict)
    departures: set[str] = field(default_factory=set)  # what differs on purpose, by name
    # whether parameters are our own, after an optimizer's step on a gradient that was not recorded
    drifted: bool = False
    drifting: dict[str, tuple[float, float]] = field(
        default_factory=dict
    )  # numbers of such parameters, and their difference from the record

    def group(self, name: str) -> dict[str, Any]:
        """What NOISE.json tells of a recorded array; empty where it is silent."""
        return next(
            (
                found
                for prefix, found in self.noise.get("groups", {}).items()
                if f"{name}/".startswith(f"{prefix}/")
            ),
            {},
        )

    def noise_of(self, name: str, kind: str = "max_abs_diff") -> float:
        """How far float32 was from float64 in an array when it was recorded; in one that was not
        kept, as in the same array of the first batch."""
        return self.group(name).get(
            kind, self.group(re.sub(r"^(train|iter|grad)\d+", r"\g<1>0", name)).get(kind, 0.0)
        )

    def tolerance(self, name: str, recorded: np.ndarray) -> float:
        group = self.group(name)
        single, double = self.noise.get("info_differs", {}).get(
            name.replace("/info/", "/info:"), (0.0, 0.0)
        )
        return max(
            10 * group.get("max_abs_diff", 0.0),
            10 * abs(single - double),
            1e-5 * float(np.abs(recorded).max(initial=0)),
        )

    def check(
        self,
        name: str,
        ours: Any,
        recorded: Any,
        where: np.ndarray | None = None,
        rounding: float = 0.0,
    ) -> None:
        """Compares arrays; integers and booleans exactly.

        where: leaves out padding, which nothing reads. rounding: what float32 loses in a number
            that NOISE.json does not cover.
        """
        ours, recorded = np.asarray(ours), np.asarray(recorded)
        if ours.shape != recorded.shape:
            self.ratios[name] = np.inf
            return
        if where is not None:
            ours, recorded = ours[where], recorded[where]
        if recorded.dtype.kind in "iub":
            self.ratios[name] = 0.0 if np.array_equal(ours, recorded) else np.inf
            return
        difference = np.abs(ours.astype(np.float64) - recorded.astype(np.float64)).max(initial=0)
        tolerance = max(self.tolerance(name, recorded), rounding)
        if self.drifted and recorded.ndim == 0:
            self.drifting[name] = float(ours), float(difference)
        self.ratios[name] = (
            float(difference / tolerance) if tolerance else (0.0 if difference == 0 else np.inf)
        )

    @property
    def over(self) -> dict[str, float]:
        """What differs by more than its tolerance, or by something that is no number."""
        return {name: ratio for name, ratio in self.ratios.items() if not ratio <= 1}

    def settle(self, double: Comparison) -> None:
        """Tells rounding from a difference, in what is over its tolerance.

        It is rounding where double precision is within the same tolerance. A number of parameters
        that two programs reached each by itself, in single precision, may be twice as far from the
        record as single and double precision are from one another."""
        rounded = {
            name: ratio for name, ratio in self.over.items() if double.ratios.get(name, np.inf) <= 1
        }
        if rounded:
            self.ratios |= {name: double.ratios[name] for name in rounded}
            kind = f"{len(rounded)} of {len(self.ratios)} arrays"
            self.depart(
                f"magnified rounding: {kind} are over in float32, by up to"
                f" {max(rounded.values()):.3g} times, and within the tolerance in float64"
            )
        for name in set(self.over) & set(self.drifting) & set(double.drifting):
            (single, difference), (exact, _) = self.drifting[name], double.drifting[name]
            if difference <= 2 * (moved := abs(single - exact)):
                self.depart(
                    f"rounding that a step carries on: {name}, {self.ratios[name]:.3g} times over,"
                    f" moves by {moved:.2g} in float64"
                )
                self.ratios[name] = difference / (2 * moved)

    def depart(self, reason: str) -> None:
        self.departures.add(reason)

    @property
    def worst(self) -> tuple[str, float]:
        return max(self.ratios.items(), key=lambda item: item[1], default=("", 0.0))
