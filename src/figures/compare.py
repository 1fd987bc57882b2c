"""Learning curves and recall per class of groups of runs."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from src.figures.style import BLUE, INK, PALETTE, RED, Described, new_figure, plain
from src.statistics import Difference, Interval
from src.wording import capital, percent

LINES = ("-", "--", ":")  # for groups beyond the palette
ACROSS = 3  # panels of differences per row
NAMED = 8  # groups, classes or pairs in the text of a figure; the tables have all


def some(parts: Sequence[str]) -> str:
    """The first NAMED of `parts`."""
    return "; ".join(parts[:NAMED]) + (" and so on" if len(parts) > NAMED else "")


def curves(groups: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Described:
    """Validation accuracy and loss by epoch, with a thin line per run and a thick line for the mean of each group.

    `groups` holds the curves of `val/accuracy` and `val/loss`, a sequence of runs each, by label. A run that ended
    early counts in the mean of the epochs that it has.
    """
    figure = new_figure(11.2, 4.3)
    panels = figure.subplots(1, 2)
    for axes, metric in zip(panels, ("val/accuracy", "val/loss"), strict=True):
        ends: dict[str, float] = {}
        for index, (label, metrics) in enumerate(groups.items()):
            if runs := [run for run in metrics[metric] if run]:
                ends[plain(label)] = _lines(axes, runs, index, label)
        axes.set(xlabel="epoch", ylabel=metric.removeprefix("val/"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if ends and metric == "val/accuracy":
            best = max(ends, key=lambda label: ends[label])
            axes.set_title(f"Validation accuracy: {best} ends highest, at {percent(ends[best], 1)}")
        elif ends:
            best = min(ends, key=lambda label: ends[label])
            axes.set_title(f"Validation loss: {best} ends lowest, at {ends[best]:.3g}")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    last = {label: [run[-1] for run in metrics["val/accuracy"] if run] for label, metrics in groups.items()}
    lasts = some([f"{label} {percent(float(np.mean(values)), 1)}" for label, values in last.items() if values])
    return Described(
        figure, f"Two line charts by epoch: validation accuracy and loss of each group. Final accuracy: {lasts}."
    )


def _lines(axes: Axes, runs: Sequence[Sequence[float]], index: int, label: str) -> float:
    """Draw the runs of a group and their mean by epoch, and return the mean of their last values."""
    colour, line = PALETTE[index % len(PALETTE)], LINES[index // len(PALETTE) % len(LINES)]
    by_epoch = [[run[e] for run in runs if len(run) > e] for e in range(max(map(len, runs)))]
    means = [float(np.mean(values)) for values in by_epoch]
    marker = "o" if len(means) <= 60 else ""
    axes.plot(range(1, len(means) + 1), means, line, color=colour, marker=marker, label=plain(label))
    for run in runs if len(runs) > 1 else ():
        axes.plot(range(1, len(run) + 1), run, line, color=colour, linewidth=0.8, alpha=0.5)
    return float(np.mean([run[-1] for run in runs]))


def classes(recalls: Mapping[str, Mapping[str, Interval]]) -> Described:
    """Recall with its interval, one row per class and one dot per group."""
    labels = list(next(iter(recalls.values())))
    figure = new_figure(8.4, 1.5 + len(recalls) * (0.16 + 0.14 * len(labels)))
    axes = figure.subplots()
    for index, label in enumerate(labels):
        found = [by_label[label] for by_label in recalls.values()]
        mean = np.array([recall.mean for recall in found])
        low, high = np.array([[recall.low, recall.high] for recall in found], dtype=float).T
        reach = [mean - low, high - mean]
        height = np.arange(len(found)) + 0.6 * ((index + 0.5) / len(labels) - 0.5)
        colour = PALETTE[index % len(PALETTE)]
        axes.errorbar(
            mean, height, xerr=np.maximum(reach, 0), fmt="o", color=colour, elinewidth=1.2, label=plain(label)
        )
    axes.set_yticks(range(len(recalls)), [plain(name, 24) for name in recalls])
    axes.set(ylim=(len(recalls) - 0.5, -0.5), xlabel="recall", title="Recall by class")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    parts = [
        f"{name} ({', '.join(f'{label} {percent(recall.mean, 1)}' for label, recall in by_label.items())})"
        for name, by_label in recalls.items()
    ]
    return Described(
        figure, f"Dots with intervals: recall by class and group, the largest difference first. {some(parts)}."
    )


def differences(pairs: Mapping[str, Mapping[str, Difference]], sentences: Sequence[str]) -> Described:
    """Recall of one group minus that of another, with its interval, one row per class and one panel per pair.

    `pairs` holds the differences by label of the pair and by class, at least one of each. A dot is full if the
    difference is significant, else hollow. `sentences` describe the differences of the pairs.
    """
    names = list(next(iter(pairs.values())))
    across = min(ACROSS, len(pairs))
    down = -(-len(pairs) // across)
    figure = new_figure(1.3 + 3.3 * across, down * (1.1 + 0.2 * len(names)))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat
    for axes, (label, found) in zip(panels, pairs.items(), strict=False):
        for row, name in enumerate(names):
            one, colour = found[name], RED if found[name].significant else BLUE
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [row, row], "-", color=colour, linewidth=1.2)
            axes.plot(one.mean, row, "o", color=colour, markerfacecolor=colour if one.significant else "white")
        axes.axvline(0, color=INK, linewidth=0.8)
        real = sum(found[name].significant for name in names)
        title = "\n".join(plain(line, 42) for line in textwrap.wrap(label, 42)[:2])
        axes.set_title(f"{title}\n{real} of {len(names)} classes differ significantly", fontsize=9)
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    first = next(iter(figure.axes))
    first.set_yticks(range(len(names)), [plain(name, 24) for name in names])
    first.set_ylim(len(names) - 0.5, -0.5)
    for axes in figure.axes[len(pairs) :]:
        axes.remove()
    figure.supxlabel("difference in recall (percentage points)", fontsize=9.5)
    said = " ".join(f"{capital(sentence)}." for sentence in sentences[:NAMED])
    return Described(figure, f"Dots with intervals: difference in recall between two groups, by class. {said}")
