"""Groups of runs beside each other: learning curves with bands, and the recall of each class."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from src.comparison.groups import Recall
from src.figures.style import PALETTE, new_figure, plain


def curves(groups: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Figure:
    """Validation accuracy and loss by epoch: the mean over a group's runs, in a band from the lowest to the highest.

    `groups` holds by label the curves (a sequence of runs) of `val/accuracy` and `val/loss`. Runs that ended early make
    the mean and the band of the epochs that they had.
    """
    figure = new_figure(11.2, 4.3)
    panels = figure.subplots(1, 2)
    for axes, metric in zip(panels, ("val/accuracy", "val/loss"), strict=True):
        for index, (label, metrics) in enumerate(groups.items()):
            runs = [run for run in metrics[metric] if run]
            if not runs:
                continue
            colour = PALETTE[index % len(PALETTE)]
            by_epoch = [[run[e] for run in runs if len(run) > e] for e in range(max(map(len, runs)))]
            epochs = range(1, len(by_epoch) + 1)
            marker = "o" if len(by_epoch) <= 60 else ""
            axes.plot(epochs, [np.mean(values) for values in by_epoch], color=colour, marker=marker, label=plain(label))
            low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
            axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.set(xlabel="epoch", ylabel=metric.removeprefix("val/"), title=f"Validation {metric.removeprefix('val/')}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


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
