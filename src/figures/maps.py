"""Class activation maps of several runs side by side, and their agreement."""

import textwrap
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from src.comparison.maps import Agreement, Maps
from src.explain.agreement import CHANCE
from src.figures.compare import some
from src.figures.gradcam import CELL, EDGE, GAP, HEAD, LINE, cells, put_title, show
from src.figures.style import BLUE, GRID, INK, MUTED, RED, Described, new_figure, plain
from src.wording import hundredths, percent

LEFT = 1.05  # inches for the text to the left of a row
MEASURES = {"spearman": "Rank correlation of all pixels", "iou": "Overlap of the top fifth (IoU)"}


def side_by_side(maps: Maps) -> Described:
    """One row per test image: the reason, the image with its true class, and the map and prediction of each run.

    Right predictions have a tick. Wrong ones have a cross and are red.
    """
    names = ["image", *(column.label for column in maps.columns)]
    across = len(names)
    lines = [textwrap.wrap(name, 17)[:2] or [""] for name in names]
    lines = [[plain(line, 17) for line in found] for found in lines]
    most = max(map(len, lines))
    heading = f"{maps.method} at {maps.layer} for the class that each run predicts"
    figure, sheet, corners = cells(
        len(maps.rows) * across,
        across,
        heading,
        head=HEAD + most * LINE + 0.08,
        left=LEFT,
        title=LINE,
        bar=maps.image_weight,
    )
    for (x, y), name in zip(corners, lines, strict=False):
        sheet.text(
            x + CELL / 2, y - LINE - 0.08, "\n".join(name), fontsize=8.5, fontweight="bold", ha="center", va="bottom"
        )
    for i, row in enumerate(maps.rows):
        first, *rest = corners[i * across : (i + 1) * across]
        why = row.why if i == 0 or maps.rows[i - 1].why != row.why else ""
        words = [plain(line, 13) for line in textwrap.wrap(why, 13)[:5]]
        sheet.text(first[0] - 0.1, first[1] + CELL / 2, "\n".join(words), fontsize=8.5, ha="right", va="center")
        show(sheet, first, maps.images[i])
        put_title(sheet, first, plain(maps.true[i], 18), fontsize=8)
        if why and i:
            sheet.plot([EDGE, corners[-1][0] + CELL], [first[1] - LINE - GAP / 2] * 2, color=GRID, linewidth=1)
        for corner, column in zip(rest, maps.columns, strict=True):
            show(sheet, corner, maps.images[i], column.maps[i], maps.image_weight)
            right = column.predicted[i] == maps.true[i]
            mark, share = "✓" if right else "✗", percent(column.confidence[i], 0)
            answer = f"{mark} {plain(column.predicted[i], 14)} {share}"
            put_title(sheet, corner, answer, fontsize=8, color=INK if right else RED)
    reasons = [f"{len(list(rows))} {why}" for why, rows in groupby(row.why for row in maps.rows)]
    return Described(
        figure,
        f"Grid of {len(maps.rows)} test images ({some(reasons)}), one row per image: the image, then {maps.method} "
        f"maps at {maps.layer} of {', '.join(names[1:])}. They are brightest where there is most evidence for the "
        "class that the run predicts.",
    )


def agreement(maps: Maps) -> Described:
    """Agreement within each group and between each two groups, with 95 % intervals over images and the chance level."""
    found: list[tuple[str, str, Mapping[str, Agreement]]] = [
        (f"within {plain(one.group.label, 28)}", BLUE, one.within) for one in maps.groups if one.within
    ]
    found += [
        (f"{plain(pair.second.group.label, 18)} and {plain(pair.first.group.label, 18)}", RED, pair.between)
        for pair in maps.pairs
    ]
    figure = new_figure(9.6, 1.5 + 0.34 * len(found))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for height, (_, colour, values) in enumerate(found):
            one = values[measure]
            half = one.half_width or 0.0
            axes.errorbar(one.mean, height, xerr=half, fmt="o", color=colour, elinewidth=1.4, markersize=5)
            axes.plot([one.lowest, one.highest], [height, height], "|", color=colour, markersize=9)
            axes.plot(one.chance, height, "o", markerfacecolor="white", color=MUTED, markersize=5)
        axes.axvline(CHANCE[measure], color=MUTED, linewidth=1, linestyle=":")
        axes.set(title=title, ylim=(len(found) - 0.5, -0.5))
        low = min(0.0, *(v[measure].lowest for _, _, v in found), *(v[measure].chance for _, _, v in found))
        axes.set_xlim(low - 0.03, 1.0)
    panels[0].set_yticks(np.arange(len(found)), [name for name, _, _ in found])
    looks: dict[str, dict[str, Any]] = {
        "seeds of one group": {"marker": "o", "color": BLUE},
        "two groups": {"marker": "o", "color": RED},
        "lowest and highest pair of runs": {"marker": "|", "color": INK, "markersize": 9},
        "by chance: maps of different images": {"marker": "o", "color": MUTED, "markerfacecolor": "white"},
        "unrelated maps": {"color": MUTED, "linewidth": 1, "linestyle": ":"},
    }
    marks = [Line2D([], [], **({"linestyle": ""} | look), label=label) for label, look in looks.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=3)
    labels = [f"within {one.group.label}" for one in maps.groups if one.within]
    labels += [f"{pair.second.group.label} and {pair.first.group.label}" for pair in maps.pairs]
    parts = [
        f"{label} {hundredths(values['spearman'].mean)} and {hundredths(values['iou'].mean)}"
        for label, (_, _, values) in zip(labels, found, strict=True)
    ]
    return Described(
        figure, f"Dots with intervals: agreement of maps by rank correlation and by overlap. {some(parts)}."
    )
