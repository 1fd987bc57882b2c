"""What is seen on each figure of a comparison, in words and numbers, for a reader who does not see it."""

from itertools import groupby

import numpy as np

from src.comparison.comparison import Comparison
from src.comparison.maps import Maps
from src.report.formats import percent

NAMED = 8  # groups, classes or pairs that a text names; the tables have them all


def texts(comparison: Comparison) -> dict[str, str]:
    """The alternative text of each figure by its name; no two are alike."""
    found = {"curves": _curves(comparison), "classes": _classes(comparison), "differences": _differences(comparison)}
    if comparison.maps is not None:
        found |= {"maps": _side_by_side(comparison.maps), "agreement": _agreement(comparison.maps)}
    return found


def _curves(comparison: Comparison) -> str:
    lasts = []
    for group in comparison.groups:
        last = [curve[-1] for run in group.runs if (curve := run.curves["val/accuracy"])]
        lasts += [f"{group.label} {percent(float(np.mean(last)), 1)}"] if last else []
    return f"Two line charts by epoch, validation accuracy and loss of each group. Last accuracy: {_some(lasts)}."


def _classes(comparison: Comparison) -> str:
    parts = [
        f"{name} ({', '.join(f'{label} {percent(recall.mean, 1)}' for label, recall in by_label.items())})"
        for name, by_label in comparison.classes.items()
    ]
    return f"Dots with intervals: the recall of each class and group, the most different class first: {_some(parts)}."


def _differences(comparison: Comparison) -> str:
    sentences = [pair.class_sentence for pair in comparison.pairs if pair.classes]
    return f"Dots with intervals: by how much the recall of each class differs between two groups. {_some(sentences)}."


def _side_by_side(maps: Maps) -> str:
    rows = [f"{len(list(rows))} {why}" for why, rows in groupby(row.why for row in maps.rows)]
    return (
        f"Sheet of {len(maps.rows)} test images ({_some(rows)}), one row per image: the image, then heat maps by "
        f"{maps.method} at {maps.layer} of {', '.join(column.label for column in maps.columns)}: red where there is "
        "most evidence for the class that the run predicts."
    )


def _agreement(maps: Maps) -> str:
    parts = [
        f"within {one.group.label} {one.within['spearman'].mean:.2f} and {one.within['iou'].mean:.2f}"
        for one in maps.groups
        if one.within
    ]
    parts += [
        f"{pair.second.group.label} and {pair.first.group.label} {pair.between['spearman'].mean:.2f} and "
        f"{pair.between['iou'].mean:.2f}"
        for pair in maps.pairs
    ]
    return f"Dots with intervals: how far maps agree, by rank correlation and by overlap: {_some(parts)}."


def _some(parts: list[str]) -> str:
    return "; ".join(parts[:NAMED]) + (" and so on" if len(parts) > NAMED else "")
