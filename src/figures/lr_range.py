"""The curve of the learning-rate range test with its suggestions."""

from collections.abc import Mapping, Sequence

import numpy as np

from src.figures.style import BLUE, GREEN, INK, ORANGE, PURPLE, RED, SKY, YELLOW, Described, new_figure
from src.wording import listed, number

COLORS = {
    "valley": GREEN,
    "steepest": ORANGE,
    "slide": PURPLE,
    "minimum": RED,
    "peak": SKY,
    "edge": YELLOW,
    "centroid": INK,
}
LABELS = {"minimum": "minimum / 10", "edge": "edge / 10", "centroid": "centroid / 2"}


def lr_range_figure(
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestions: Mapping[str, float],
    used: float,
) -> Described:
    """Loss by rate (logarithmic) per batch and smoothed (K,), with the suggestions and the rate in use."""
    figure = new_figure(7.2, 4.2)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.plot(lrs, losses, color=BLUE, alpha=0.3, linewidth=1, label="batch loss")
    axes.plot(lrs, smoothed, color=BLUE, linewidth=2, label="smoothed")
    # Show the fall. The rise at the end is often a hundred times as high, so it leaves the figure at the top.
    low, first = min(*losses, *smoothed), max(losses[0], smoothed[0])
    height = max(first - low, 0.1)
    axes.set_ylim(low - 0.1 * height, first + 0.6 * height)
    axes.axvline(used, color=INK, linewidth=1.2, linestyle="--", label=f"rate in use: {used:.2g}")
    for name, lr in suggestions.items():
        axes.plot(
            [lr],
            [np.interp(np.log(lr), np.log(lrs), smoothed)],
            "o",
            markersize=8,
            markeredgecolor="white",
            zorder=3,
            color=COLORS[name],
            label=f"{LABELS.get(name, name)}: {lr:.2g}",
        )
    axes.set_title("Learning-rate range test")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return Described(
        figure,
        f"Line chart of the training loss against the learning rate, {number(lrs[0], 3)} to {number(lrs[-1], 3)} in "
        f"{len(lrs)} batches. Suggestions: {listed(suggestions)}. A line marks the rate in use: {number(used)}.",
    )
