"""Confusion matrix and reliability diagram."""

from collections.abc import Sequence

import numpy as np

from src.evaluation.calibration import Reliability
from src.figures.style import BLUE, INK, MUTED, RED, Described, cut, new_figure, plain
from src.wording import percent

WRITTEN_UP_TO = 20  # classes; the cells of a larger matrix are too small for text
NAMED_UP_TO = 60


def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> Described:
    """Counts (C, C), with a row per true class and a column per predicted class, coloured by share of the row.

    A class without images has an empty row.
    """
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    names = [plain(name, 20) for name in classes] if len(classes) <= NAMED_UP_TO else []
    longest = max(map(len, names), default=0)
    side = float(np.clip(1.6 + 0.45 * len(classes), 3.6, 13)) + max(1.0, 0.09 * longest)
    figure = new_figure(side + 0.8, side)
    figure.set_layout_engine("compressed")  # for axes of a fixed shape; the default engine cuts the title off
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix")
    axes.grid(visible=False)
    if names:
        axes.set_xticks(range(len(classes)), names, rotation=90 if longest > 3 else 0)
        axes.set_yticks(range(len(classes)), names)
    if len(classes) <= WRITTEN_UP_TO:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else INK
                size = 8 if counts.max() < 10_000 else 6.5
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=size)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, label="share of the true class")
    bar.outline.set_visible(False)
    return Described(figure, _confusion_alt(counts, classes))


def _confusion_alt(counts: np.ndarray, classes: Sequence[str]) -> str:
    text = (
        f"Confusion matrix of {len(classes):,} classes. {counts.trace():,} of {counts.sum():,} test images are on the "
        "diagonal"
    )
    recalls = sorted((row[i] / row.sum(), classes[i]) for i, row in enumerate(counts) if row.any())
    (low, worst), (high, best) = recalls[0], recalls[-1]
    if low == high:
        return f"{text}."
    return (
        f"{text}. The recall is highest for {cut(best)} ({percent(high)}) and lowest for {cut(worst)} ({percent(low)})."
    )


def reliability_diagram(binned: Reliability, error: float) -> Described:
    """Accuracy by confidence in each bin, above the number of predictions in it. `error` is the ECE."""
    figure = new_figure(5.2, 5.4)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    width = np.diff(binned.edges)
    centre = binned.edges[:-1] + width / 2
    filled = binned.counts > 0

    top.bar(centre[filled], binned.accuracy[filled], width[filled] * 0.92, color=BLUE, label="accuracy")
    top.bar(
        centre[filled],
        (binned.confidence - binned.accuracy)[filled],
        width[filled] * 0.92,
        bottom=binned.accuracy[filled],
        facecolor=(*_rgb(RED), 0.18),
        edgecolor=RED,
        hatch="////",
        linewidth=0.6,
        label="gap to confidence",
    )
    top.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1.2, label="perfect calibration")
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    top.set_title(f"Reliability, expected calibration error {percent(error)}")
    top.legend(loc="upper left")

    bottom.bar(centre, binned.counts, width * 0.92, color=MUTED)
    bottom.set(xlabel="confidence", ylabel="images")
    figure.align_ylabels([top, bottom])
    return Described(
        figure,
        f"Bar chart of the accuracy and the number of images in {len(binned.counts)} bins of confidence. The expected "
        "calibration error, the mean absolute difference between accuracy and confidence over bins, is "
        f"{percent(error)}.",
    )


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue
