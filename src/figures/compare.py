"""Groups of runs beside each other: learning curves with bands, and the recall of each class."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from src.comparison.classes import Recall
from src.comparison.statistics import Corrected, mean_interval
from src.figures.style import INK, PALETTE, new_figure, plain

BAND = 3  # runs that make a band; of two it would be thirteen deviations wide
LINES = ("-", "--", ":")  # groups beyond the palette


def curves(groups: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Figure:
    """Validation accuracy and loss by epoch: the mean over a group's runs, in a band of its 95 % t-interval.

    `groups` holds by label the curves (a sequence of runs) of `val/accuracy` and `val/loss`. Runs that ended early make
    the mean and the band of the epochs that they had. Groups of fewer than BAND runs have thin lines for the runs
    instead, and there is no band where fewer are left.
    """
    figure = new_figure(11.2, 4.3)
    panels = figure.subplots(1, 2)
    for axes, metric in zip(panels, ("val/accuracy", "val/loss"), strict=True):
        highest = 1.0 if metric == "val/accuracy" else np.inf
        for index, (label, metrics) in enumerate(groups.items()):
            runs = [run for run in metrics[metric] if run]
            if runs:
                _mean_and_band(axes, runs, index, label, highest)
        values = [value for metrics in groups.values() for run in metrics[metric] for value in run]
        if values:  # of three runs an early band may be many times as wide as all curves together
            margin = 0.05 * (max(values) - min(values)) or 0.05
            axes.set_ylim(min(values) - margin, max(values) + margin)
        axes.set(xlabel="epoch", ylabel=metric.removeprefix("val/"), title=f"Validation {metric.removeprefix('val/')}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _mean_and_band(axes: Axes, runs: Sequence[Sequence[float]], index: int, label: str, highest: float) -> None:
    """One group; its band is cut off at 0 and `highest`."""
    colour, line = PALETTE[index % len(PALETTE)], LINES[index // len(PALETTE) % len(LINES)]
    by_epoch = [[run[e] for run in runs if len(run) > e] for e in range(max(map(len, runs)))]
    means = [mean_interval(values) for values in by_epoch]
    epochs = np.arange(1, len(by_epoch) + 1)
    marker = "o" if len(by_epoch) <= 60 else ""
    axes.plot(epochs, [m.mean for m in means], line, color=colour, marker=marker, label=plain(label))
    if len(runs) < BAND:
        for run in runs if len(runs) > 1 else ():
            axes.plot(epochs[: len(run)], run, line, color=colour, linewidth=0.8, alpha=0.7)
        return
    half = np.array([m.half_width if m.n >= BAND and m.half_width is not None else np.nan for m in means])
    mean = np.array([m.mean for m in means])
    axes.fill_between(
        epochs, np.maximum(mean - half, 0), np.minimum(mean + half, highest), color=colour, alpha=0.18, linewidth=0
    )


def classes(recalls: Mapping[str, Mapping[str, Recall]]) -> Figure:
    """Recall with its interval, by class from the top down and in it by the label of the group."""
    labels = list(next(iter(recalls.values())))
    figure = new_figure(8.4, 1.5 + len(recalls) * (0.16 + 0.14 * len(labels)))
    axes = figure.subplots()
    for index, label in enumerate(labels):
        found = [by_label[label] for by_label in recalls.values()]
        mean = np.array([recall.mean for recall in found])
        reach = [mean - [recall.low for recall in found], [recall.high for recall in found] - mean]
        height = np.arange(len(found)) + 0.6 * ((index + 0.5) / len(labels) - 0.5)
        colour = PALETTE[index % len(PALETTE)]
        axes.errorbar(
            mean, height, xerr=np.maximum(reach, 0), fmt="o", color=colour, elinewidth=1.2, label=plain(label)
        )
    axes.set_yticks(range(len(recalls)), [plain(name, 24) for name in recalls])
    axes.set(ylim=(len(recalls) - 0.5, -0.5), xlabel="recall", title="Share of each class that is answered right")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def differences(pairs: Mapping[str, Mapping[str, Corrected]]) -> Figure:
    """Recall of one group minus that of another, with its interval, by class from the top down.

    `pairs` holds them by the label of the pair and by class, at least one of each. A dot is full where the difference
    is significant, else hollow.
    """
    names = list(next(iter(pairs.values())))
    figure = new_figure(8.4, 1.5 + len(names) * (0.16 + 0.14 * len(pairs)))
    axes = figure.subplots()
    for index, (label, found) in enumerate(pairs.items()):
        colour = PALETTE[index % len(PALETTE)]
        axes.plot([], [], "o", color=colour, label=plain(label, 60))
        for row, name in enumerate(names):
            one, height = found[name], row + 0.6 * ((index + 0.5) / len(pairs) - 0.5)
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [height, height], "-", color=colour, linewidth=1.2)
            axes.plot(one.difference, height, "o", color=colour, markerfacecolor=colour if one.real else "white")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), [plain(name, 24) for name in names])
    axes.set(
        ylim=(len(names) - 0.5, -0.5), xlabel="difference of recall in points", title="Difference of recall by class"
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
