"""The table and the figure of several evaluated runs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from serac_jax.core import figure_files

Entry = dict[str, Any]  # a run, as in table.json
SCORES = ("edit_success", "drawdown")
MARKERS = "osD^vPX*"
TITLES = {
    "edit_success": "edit success (higher is better)",
    "drawdown": "drawdown (lower is better)",
}


def experiments(entries: list[Entry]) -> Iterable[tuple[str, list[Entry]]]:
    """The runs of each experiment, the best pooled edit success first."""
    for name, group in groupby(entries, key=lambda entry: entry["experiment"]):
        yield name, sorted(group, key=lambda entry: -entry["pooled"]["edit_success"]["mean"])


def kinds_of(group: list[Entry], score: str) -> list[str]:
    """The kinds of questions that a score of some run has, in the task's order."""
    return [
        kind["name"]
        for kind in group[0]["kinds"]
        if any(kind["name"] in entry["scores"][score] for entry in group)
    ]


def markdown(entries: list[Entry]) -> str:
    """A table for each experiment, with a row per editor and a column per kind of question."""
    parts = []
    for name, group in experiments(entries):
        inside, outside = (kinds_of(group, score) for score in SCORES)
        heads = [
            "editor",
            *(f"success: {kind}" for kind in inside),
            "success, pooled",
            *(f"drawdown: {kind}" for kind in outside),
            "edits",
            "seconds to train",
            "to evaluate",
        ]
        lines = [f"**{name}**", "", row(heads), "|---" * len(heads) + "|"]
        for entry in group:
            cells = [
                entry["editor"],
                *(mean(entry["scores"]["edit_success"].get(kind)) for kind in inside),
                interval(entry["pooled"]["edit_success"]),
                *(interval(entry["scores"]["drawdown"].get(kind)) for kind in outside),
                str(entry["counts"]["edits"]),
                *(f"{entry['seconds'][program]:.0f}" for program in ("train", "eval")),
            ]
            lines.append(row(cells))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def mean(score: dict[str, float] | None) -> str:
    return "" if score is None else f"{score['mean']:.3f}"


def interval(score: dict[str, float] | None) -> str:
    if score is None or score["low"] is None:
        return mean(score)
    return f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def draw(entries: list[Entry], out: Path) -> None:
    """Edit success and drawdown by kind, with 95% intervals; as table.svg, table.png, table.pdf.

    A row of panels per experiment. In a panel, each editor has its line, and each kind of question
    a marker on it.
    """
    from matplotlib.figure import Figure

    groups = list(experiments(entries))
    heights = [0.6 + 0.5 * len(group) for _, group in groups]
    figure = Figure(figsize=(10, sum(heights) + 0.6 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (name, group) in zip(panels, groups, strict=True):
        for panel, score in zip(axes, SCORES, strict=True):
            draw_panel(panel, group, score)
            panel.set_title(f"{name}: {TITLES[score]}", fontsize=10, loc="left")
    figure_files.save(figure, out / "table", "svg", "png", "pdf")


def draw_panel(panel: Any, group: list[Entry], score: str) -> None:
    """One score of one experiment."""
    kinds = kinds_of(group, score)
    for number, kind in enumerate(kinds):
        shift = 0.5 * (number + 0.5 - len(kinds) / 2) / len(kinds)
        found = [
            (place + shift, entry["scores"][score][kind])
            for place, entry in enumerate(group)
            if kind in entry["scores"][score]
        ]
        means = [value["mean"] for _, value in found]
        bars = [
            [
                abs(value["mean"] - (value[end] if value[end] is not None else value["mean"]))
                for _, value in found
            ]
            for end in ("low", "high")
        ]
        panel.errorbar(
            means,
            [place for place, _ in found],
            xerr=bars,
            fmt=MARKERS[number % len(MARKERS)],
            color=f"C{number}",
            markersize=5,
            linewidth=1,
            label=kind,
        )
    panel.set_yticks(range(len(group)), [entry["editor"] for entry in group])
    panel.set_ylim(len(group) - 0.5, -0.5)
    panel.set_xlim(-0.03, 1.03 if score == "edit_success" else None)
    panel.grid(axis="x", alpha=0.3)
    for between in range(1, len(group)):
        panel.axhline(between - 0.5, color="k", alpha=0.15, linewidth=0.8)
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
