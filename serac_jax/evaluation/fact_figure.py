"""The figure of an evaluation by kinds: right answers by the number of edits held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serac_jax.core import figure_files
from serac_jax.tasks.facts.fact_kinds import BY_NAME


def draw(found: dict[str, Any], out: Path) -> None:
    """Writes OUT.png and OUT.pdf: kinds in scope on the left, kinds out of scope on the right.

    Args:
      found: The content of results.json.
      out: The files' path without its ending.
    """
    from matplotlib.figure import Figure

    numbers = list(found["scores"])
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, inside, title in zip(
        panels, (True, False), ("in scope", "out of scope: answers as before"), strict=True
    ):
        shown = [name for name, kind in BY_NAME.items() if kind.inside == inside]
        for place, name in enumerate(shown):
            points = [
                (at, found["scores"][number][name])
                for at, number in enumerate(numbers)
                if name in found["scores"][number]
            ]
            if not points:
                continue
            mean = [value["mean"] for _, value in points]
            ends = [
                [abs(value["mean"] - value[end]) for _, value in points] for end in ("low", "high")
            ]
            shift = (place - len(shown) / 2) * 0.02  # so that intervals do not hide one another
            at = [where + shift for where, _ in points]
            axes.errorbar(at, mean, yerr=ends, marker="o", capsize=3, label=name)
        axes.set(title=title, xlabel="edits held", ylim=(-0.02, 1.02))
        axes.set_xticks(range(len(numbers)), numbers)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", loc="lower left")
    panels[0].set_ylabel("share of right answers")
    figure_files.save(figure, out, "png", "pdf")
