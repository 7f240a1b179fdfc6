"""The figure of a calibration."""

from __future__ import annotations

from pathlib import Path

from serac_jax.core import figure_files
from serac_jax.editors.protocol import Thresholds
from serac_jax.serving.calibration import Scores, bins, rates, thinned


def draw(scores: Scores, thresholds: Thresholds, out: Path) -> None:
    """Writes OUT.svg and OUT.png: scores in and out of scope, the ROC curve, the precision–recall
    curve, and the share of questions in scope by score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.6, 3.4), layout="constrained")
    histogram, roc, precision, meaning = figure.subplots(1, 4)
    wrong, right, exact = thinned(*rates(scores))
    hit = thresholds.hit(scores.value)

    for kind, name in ((~scores.inside, "out of scope"), (scores.inside, "in scope")):
        histogram.hist(scores.value[kind], bins=30, range=(0, 1), alpha=0.6, label=name)
    histogram.axvline(thresholds.threshold, color="k")
    if thresholds.unsure_from < thresholds.threshold:
        histogram.axvspan(
            thresholds.unsure_from, thresholds.threshold, color="k", alpha=0.15, label="unsure"
        )
    histogram.set(
        title="scores", xlabel="score of the nearest edit", ylabel="questions", yscale="log"
    )
    histogram.set_ylim(top=30 * histogram.get_ylim()[1])  # room for the legend
    histogram.legend(loc="upper left")

    here = float(hit[~scores.inside].mean()), float(hit[scores.inside].mean())
    roc.plot([0, *wrong], [0, *right])
    roc.plot(*here, "ko")
    roc.set(title="ROC", xlabel="false-positive rate", ylabel="recall")

    precision.plot(right, exact)
    if hit.any():
        precision.plot(here[1], float(scores.inside[hit].mean()), "ko")
    precision.set(title="precision–recall", xlabel="recall", ylabel="precision", ylim=(0, 1.03))

    meaning.plot([0, 1], [0, 1], color="k", alpha=0.3)
    meaning.plot(
        [score for _, score, _ in bins(scores)], [true for _, _, true in bins(scores)], "o-"
    )
    meaning.set(title="calibration", xlabel="score", ylabel="share in scope")
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    figure_files.save(figure, out, "svg", "png")
