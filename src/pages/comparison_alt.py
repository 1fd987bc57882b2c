"""Alternative text of each figure of a comparison: what it shows, in words and numbers."""

from itertools import groupby

import numpy as np

from src.comparison.comparison import Comparison
from src.comparison.maps import Maps
from src.wording import percent

NAMED = 8  # groups, classes or pairs in a text; the tables have all


def texts(comparison: Comparison) -> dict[str, str]:
    """The alternative text of each figure by its name. All texts differ."""
    found = {"curves": _curves(comparison), "classes": _classes(comparison), "differences": _differences(comparison)}
    if comparison.maps is not None:
        found |= {"maps": _side_by_side(comparison.maps), "agreement": _agreement(comparison.maps)}
    return found


def _curves(comparison: Comparison) -> str:
    lasts = []
    for group in comparison.groups:
        last = [curve[-1] for run in group.runs if (curve := run.curves["val/accuracy"])]
        lasts += [f"{group.label} {percent(float(np.mean(last)), 1)}"] if last else []
    return f"Two line charts by epoch: validation accuracy and loss of each group. Final accuracy: {_some(lasts)}."


def _classes(comparison: Comparison) -> str:
    parts = [
        f"{name} ({', '.join(f'{label} {percent(recall.mean, 1)}' for label, recall in by_label.items())})"
        for name, by_label in comparison.classes.items()
    ]
    return f"Dots with intervals: recall by class and group, the largest difference first. {_some(parts)}."


def _differences(comparison: Comparison) -> str:
    sentences = [pair.class_sentence for pair in comparison.pairs if pair.classes]
    said = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences[:NAMED])
    return f"Dots with intervals: difference in recall between two groups, by class. {said}"


def _side_by_side(maps: Maps) -> str:
    rows = [f"{len(list(rows))} {why}" for why, rows in groupby(row.why for row in maps.rows)]
    return (
        f"Grid of {len(maps.rows)} test images ({_some(rows)}), one row per image: the image, then {maps.method} maps "
        f"at {maps.layer} of {', '.join(column.label for column in maps.columns)}. They are brightest where there is "
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
    return f"Dots with intervals: agreement of maps by rank correlation and by overlap. {_some(parts)}."


def _some(parts: list[str]) -> str:
    return "; ".join(parts[:NAMED]) + (" and so on" if len(parts) > NAMED else "")
