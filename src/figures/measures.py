"""Measures of maps: curves of removed pixels, means by layer, and maps of increasingly random networks.

All functions take the content of metrics/gradcam.json, with measures.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from src.figures.style import INK, MUTED, PALETTE, Described, new_figure, plain
from src.results import MapEstimate, MapMeasure, Maps
from src.wording import capital, course, hundredths, percent

BASELINES = {"random": ("random maps", MUTED, ":"), "centre": ("centre blob", INK, "--")}
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v")


def figures(maps: Maps) -> Iterator[tuple[str, Described]]:
    """Yield the name and figure of each measure. Nothing without measures."""
    if maps.road is None:
        return
    yield "removal", removal(maps)
    yield "by_layer", by_layer(maps)
    if maps.randomisation is not None:
        yield "randomisation", randomisation(maps.randomisation, maps.method, maps.layer)


def removal(maps: Maps) -> Described:
    """The probability of the predicted class by the share of pixels removed or inserted, for maps at the main layer.

    For ROAD, deletion and insertion, with the main method as a thick line, the other methods as thin lines, and the
    baselines in grey.
    """
    method, layer = maps.method, maps.layer
    figure = new_figure(11.2, 4.4)
    panels = figure.subplots(1, 4, sharey=True)
    shown = (
        ("road", "most_relevant_first", "ROAD, most relevant\nremoved: lower is better", "removed"),
        ("road", "least_relevant_first", "ROAD, least relevant\nremoved: higher is better", "removed"),
        ("deletion", "probability", "Deletion, most relevant\nfirst: lower is better", "deleted"),
        ("insertion", "probability", "Insertion, most relevant\nfirst: higher is better", "inserted"),
    )
    for axes, (name, curve, title, what) in zip(panels, shown, strict=True):
        measure = maps.measures[name]
        for other, (label, colour, line) in BASELINES.items():
            values = measure.baselines[other][layer].curves[curve]
            axes.plot(measure.x, values, color=colour, linestyle=line, linewidth=1.4, label=label)
        for (colour, marker), (other, entries) in zip(_looks(measure), measure.methods.items(), strict=True):
            if (entry := entries[layer]) is not None:
                width = 2.6 if other == method else 1.2
                axes.plot(measure.x, entry.curves[curve], color=colour, marker=marker, linewidth=width, label=other)
        axes.set(xlabel=f"pixels {what}", xlim=(0, 1), title=title)
        axes.title.set_fontsize(9.5)
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    panels[0].set(ylabel="probability of the predicted class", ylim=(0, None))
    figure.suptitle(f"Maps at {plain(layer)}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    ours = _measured(maps.own("road")).curves
    last = percent(float(maps.measures["road"].x[-1]), 0)
    falls, stays = (percent(ours[f"{which}_relevant_first"][-1], 0) for which in ("most", "least"))
    return Described(
        figure,
        "Four line charts of the probability of the predicted class by the share of pixels removed or inserted, for "
        f"maps at {layer}. With {last} of the pixels removed in the order of {method}, the probability is {falls} "
        f"without the most relevant ones and {stays} without the least relevant ones.",
    )


def by_layer(maps: Maps) -> Described:
    """The mean of each measure with its 95 % interval, by layer and method, with the baselines."""
    shown = list(maps.measures.values())
    rows = -(-len(shown) // 2)
    figure = new_figure(11.2, 0.6 + 2.7 * rows)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, measure in zip(panels, shown, strict=False):
        _means(axes, measure)
        title = f"{measure.title}: {'higher' if measure.higher_is_better else 'lower'} is better"
        axes.set_title(capital(title), fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    road, method, layer = maps.measures["road"], maps.method, maps.layer
    ours, chance = _measured(maps.own("road")), road.baselines["random"][layer]
    return Described(
        figure,
        f"Point charts of each measure with intervals, by layer ({', '.join(road.methods[method])}) and method "
        f"({', '.join(road.methods)}), with random maps and a blob in the centre as baselines. ROAD of {method} at "
        f"{layer} is {hundredths(ours.mean)}. ROAD of random maps is {hundredths(chance.mean)}.",
    )


def randomisation(measure: MapMeasure, method: str, layer: str) -> Described:
    """Rank correlation with the original maps by the layers made random, for all methods at `layer` and all layers.

    The layers are those of `method`, or of the first tested method if `method` was not tested.
    """
    if measure.methods[method][layer] is None:
        method = next(name for name, entries in measure.methods.items() if entries[layer] is not None)
    figure = new_figure(11.2, 4.2)
    panels = figure.subplots(1, 2, sharey=True)
    steps = ["none", *map(str, measure.x)]
    for (colour, marker), (other, entries) in zip(_looks(measure), measure.methods.items(), strict=True):
        if (entry := entries[layer]) is not None:
            width = 2.6 if other == method else 1.2
            panels[0].plot(steps, _correlations(entry), color=colour, marker=marker, linewidth=width, label=other)
    for index, (name, entry) in enumerate(measure.methods[method].items()):
        colour, line = PALETTE[index % len(PALETTE)], STYLES[index // len(PALETTE) % len(STYLES)]
        values, width = _correlations(_measured(entry)), 2.6 if name == layer else 1.2
        panels[1].plot(steps, values, color=colour, linestyle=line, marker="o", linewidth=width, label=plain(name))
    panels[0].set(title=f"Methods at {plain(layer)}", ylabel="rank correlation with the original maps")
    panels[1].set(title=f"Layers by {method}")
    for axes in panels:
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.set(xlabel="random layers, from the output back to this one", ylim=(None, 1.05))
        axes.legend(loc="best", ncols=2)
    correlations = _correlations(_measured(measure.methods[method][layer]))
    return Described(
        figure,
        f"Two line charts of the rank correlation with the original maps. {', '.join(steps[1:])} become random one "
        f"after the other. The left chart has all methods at {layer}, the right one all layers by {method}. The "
        f"correlation of {method} at {layer} goes {course(correlations, hundredths)}.",
    )


def _correlations(entry: MapEstimate) -> list[float]:
    """From the trained network to a random one. A map's correlation with itself is 1."""
    return [1.0, *entry.curves["rank_correlation"]]


def _measured(entry: MapEstimate | None) -> MapEstimate:
    assert entry is not None
    return entry


def _means(axes: Axes, measure: MapMeasure) -> None:
    """Draw one measure: a place on the axis per layer, with a point per method and a line per baseline."""
    layers = list(next(iter(measure.methods.values())))
    at = np.arange(len(layers), dtype=float)
    for name, (label, colour, line) in BASELINES.items():
        if name in measure.baselines:
            means = [measure.baselines[name][layer].mean for layer in layers]
            axes.hlines(means, at - 0.42, at + 0.42, color=colour, linestyle=line, linewidth=1.4, label=label)
    count = len(measure.methods)
    for index, ((colour, marker), (name, entries)) in enumerate(
        zip(_looks(measure), measure.methods.items(), strict=True)
    ):
        measured = [entry for entry in entries.values() if entry is not None]
        if len(measured) < len(layers):
            continue
        means, reach = _reach(measured)
        place = at + 0.7 * ((index + 0.5) / count - 0.5)
        axes.errorbar(place, means, yerr=reach, fmt=marker, color=colour, elinewidth=1.2, label=name)
    axes.set_xticks(at, [plain(layer, 22) for layer in layers], rotation=0 if len(layers) <= 5 else 30)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.5, len(layers) - 0.5)


def _reach(entries: Sequence[MapEstimate]) -> tuple[list[float], np.ndarray]:
    """Means (L,), and the extent of their intervals below and above, (2, L), or 0 without an interval."""
    means = [entry.mean for entry in entries]
    ends = [(e.mean, e.mean) if e.low is None or e.high is None else (e.low, e.high) for e in entries]
    below, above = ([abs(end[side] - mean) for end, mean in zip(ends, means, strict=True)] for side in (0, 1))
    return means, np.array([below, above])


def _looks(measure: MapMeasure) -> list[tuple[str, str]]:
    """Colour and marker of each method, the same in all figures."""
    return [
        (PALETTE[i % len(PALETTE)], MARKERS[(i + i // len(PALETTE)) % len(MARKERS)])
        for i in range(len(measure.methods))
    ]
