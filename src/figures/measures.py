"""Measures of maps: curves of removed pixels, means by layer, and maps of increasingly random networks.

All functions take the measures in metrics/gradcam.json, which src/explain/summary.py makes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from src.figures.style import INK, MUTED, PALETTE, new_figure, plain

Section = Mapping[str, Any]

BASELINES = {"random": ("random maps", MUTED, ":"), "centre": ("centre blob", INK, "--")}
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v")


def figures(measured: Section, method: str, layer: str) -> Iterator[tuple[str, Figure]]:
    """Yield the name and figure of each measure, for maps of `method` at `layer`. Nothing without measures."""
    if measured["road"] is None:
        return
    yield "removal", removal(measured, method, layer)
    yield "by_layer", by_layer(measured)
    if measured["randomisation"] is not None:
        yield "randomisation", randomisation(measured["randomisation"], method, layer)


def removal(measured: Section, method: str, layer: str) -> Figure:
    """The probability of the predicted class by the share of pixels removed or inserted, for maps at `layer`.

    For ROAD, deletion and insertion, with `method` as a thick line, the other methods as thin lines, and the baselines
    in grey.
    """
    figure = new_figure(11.2, 4.4)
    panels = figure.subplots(1, 4, sharey=True)
    shown = (
        ("road", "most_relevant_first", "ROAD, most relevant\nremoved: lower is better", "removed"),
        ("road", "least_relevant_first", "ROAD, least relevant\nremoved: higher is better", "removed"),
        ("deletion", "probability", "Deletion, most relevant\nfirst: lower is better", "deleted"),
        ("insertion", "probability", "Insertion, most relevant\nfirst: higher is better", "inserted"),
    )
    for axes, (name, curve, title, what) in zip(panels, shown, strict=True):
        section = measured[name]
        for other, (label, colour, line) in BASELINES.items():
            values = section["baselines"][other][layer]["curves"][curve]
            axes.plot(section["x"], values, color=colour, linestyle=line, linewidth=1.4, label=label)
        for (colour, marker), (other, entries) in zip(_looks(section), section["methods"].items(), strict=True):
            values = entries[layer]["curves"][curve]
            width = 2.6 if other == method else 1.2
            axes.plot(section["x"], values, color=colour, marker=marker, linewidth=width, label=other)
        axes.set(xlabel=f"pixels {what}", xlim=(0, 1), title=title)
        axes.title.set_fontsize(9.5)
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    panels[0].set(ylabel="probability of the predicted class", ylim=(0, None))
    figure.suptitle(f"Maps at {plain(layer)}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    return figure


def by_layer(measured: Section) -> Figure:
    """The mean of each measure with its 95 % interval, by layer and method, with the baselines."""
    shown = [section for section in measured.values() if isinstance(section, Mapping) and "methods" in section]
    rows = -(-len(shown) // 2)
    figure = new_figure(11.2, 0.6 + 2.7 * rows)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, section in zip(panels, shown, strict=False):
        _means(axes, section)
        title = f"{section['title']}: {'higher' if section['higher_is_better'] else 'lower'} is better"
        axes.set_title(title[0].upper() + title[1:], fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    return figure


def randomisation(section: Section, method: str, layer: str) -> Figure:
    """Rank correlation with the original maps by the layers made random, for all methods at `layer` and all layers.

    The layers are those of `method`, or of the first tested method if `method` was not tested.
    """
    if section["methods"][method][layer] is None:
        method = next(name for name, entries in section["methods"].items() if entries[layer] is not None)
    figure = new_figure(11.2, 4.2)
    panels = figure.subplots(1, 2, sharey=True)
    steps = ["none", *section["x"]]
    for (colour, marker), (other, entries) in zip(_looks(section), section["methods"].items(), strict=True):
        if entries[layer] is None:
            continue
        values = [1.0, *entries[layer]["curves"]["rank_correlation"]]
        panels[0].plot(
            steps, values, color=colour, marker=marker, linewidth=2.6 if other == method else 1.2, label=other
        )
    for index, (name, entry) in enumerate(section["methods"][method].items()):
        colour = PALETTE[index % len(PALETTE)]
        values = [1.0, *entry["curves"]["rank_correlation"]]
        panels[1].plot(
            steps, values, color=colour, linestyle=STYLES[index // len(PALETTE) % len(STYLES)], marker="o",
            linewidth=2.6 if name == layer else 1.2, label=plain(name),
        )  # fmt: skip
    panels[0].set(title=f"Methods at {plain(layer)}", ylabel="rank correlation with the original maps")
    panels[1].set(title=f"Layers by {method}")
    for axes in panels:
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.set(xlabel="random layers, from the output back to this one", ylim=(None, 1.05))
        axes.legend(loc="best", ncols=2)
    return figure


def _means(axes: Axes, section: Section) -> None:
    """Draw one measure: a place on the axis per layer, with a point per method and a line per baseline."""
    layers = list(next(iter(section["methods"].values())))
    at = np.arange(len(layers), dtype=float)
    for name, (label, colour, line) in BASELINES.items():
        if name in section["baselines"]:
            means = [section["baselines"][name][layer]["mean"] for layer in layers]
            axes.hlines(means, at - 0.42, at + 0.42, color=colour, linestyle=line, linewidth=1.4, label=label)
    count = len(section["methods"])
    for index, ((colour, marker), (name, entries)) in enumerate(
        zip(_looks(section), section["methods"].items(), strict=True)
    ):
        if None in entries.values():
            continue
        means, reach = _reach([entries[layer] for layer in layers])
        place = at + 0.7 * ((index + 0.5) / count - 0.5)
        axes.errorbar(place, means, yerr=reach, fmt=marker, color=colour, elinewidth=1.2, label=name)
    axes.set_xticks(at, [plain(layer, 22) for layer in layers], rotation=0 if len(layers) <= 5 else 30)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.5, len(layers) - 0.5)


def _reach(entries: Sequence[Section]) -> tuple[list[float], np.ndarray]:
    """Means (L,), and the extent of their intervals below and above, (2, L), or 0 without an interval."""
    means = [entry["mean"] for entry in entries]
    ends = [(e["mean"], e["mean"]) if e["low"] is None else (e["low"], e["high"]) for e in entries]
    below, above = ([abs(end[side] - mean) for end, mean in zip(ends, means, strict=True)] for side in (0, 1))
    return means, np.array([below, above])


def _looks(section: Section) -> list[tuple[str, str]]:
    """Colour and marker of each method, the same in all figures."""
    return [
        (PALETTE[i % len(PALETTE)], MARKERS[(i + i // len(PALETTE)) % len(MARKERS)])
        for i in range(len(section["methods"]))
    ]
