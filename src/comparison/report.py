"""A comparison as JSON, as a table for the terminal, and as one self-contained HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from src.comparison.groups import Group, Recall, agreement, recalls, same_images
from src.comparison.pairs import Pair, p_value
from src.comparison.statistics import Mean, mean_interval
from src.errors import printable
from src.evaluation.metrics import wilson_interval
from src.report.formats import percent, points
from src.report.page import fill
from src.report.pictures import pictures

METRICS = {"accuracy": "test/accuracy", "loss": "test/loss", "ece": "test/ece"}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that is shown."""

    by: Sequence[str]  # parameters
    groups: Sequence[Group]
    pairs: Sequence[Pair]
    levels: Sequence[float]  # validation accuracies that are timed
    notes: Sequence[str]  # what a reader must know: runs left out, what else differs

    @cached_property
    def classes(self) -> dict[str, dict[str, Recall]]:
        """See `class_recalls`; the figure, the numbers and the page show them."""
        return class_recalls(self.groups)


def class_recalls(groups: Sequence[Group]) -> dict[str, dict[str, Recall]]:
    """By class and label of the group; the classes whose recall differs most come first.

    Empty where the groups answered other images.
    """
    runs = [run for group in groups for run in group.runs]
    if not same_images(runs):
        return {}
    names = sorted(set(runs[0].predictions.true.tolist()))
    found = {name: {group.label: recalls(group, name) for group in groups} for name in names}
    return dict(sorted(found.items(), key=lambda item: -spread(item[1].values())))


def spread(found: Iterable[Recall]) -> float:
    """Largest minus smallest mean."""
    means = [recall.mean for recall in found]
    return float(max(means) - min(means))


def to_json(comparison: Comparison) -> dict[str, Any]:
    """What reports/compare.json holds; fractions, not per cent; null for what is not known."""
    return {
        "by": list(comparison.by),
        "notes": list(comparison.notes),
        "groups": [_group(group, comparison.levels) for group in comparison.groups],
        "pairs": [
            {
                "first": pair.first.label,
                "second": pair.second.label,
                "welch": None if pair.welch is None else asdict(pair.welch) | {"p_holm": pair.p_welch},
                "mcnemar": None if pair.mcnemar is None else asdict(pair.mcnemar) | {"p_holm": pair.p_mcnemar},
                "interval": None if pair.welch is None or pair.welch.low is None else [pair.welch.low, pair.welch.high],
                "agreement": None if pair.mcnemar is None else agreement(pair.first, pair.second),
                "sentence": pair.sentence,
            }
            for pair in comparison.pairs
        ],
        "classes": {
            name: {label: asdict(recall) for label, recall in by_label.items()}
            for name, by_label in comparison.classes.items()
        },
    }


def _group(group: Group, levels: Sequence[float]) -> dict[str, Any]:
    speed = group.images_per_second()
    return {
        "label": group.label,
        "values": group.values,
        "seeds": group.seeds,
        "runs": [run.id for run in group.runs],
        **{name: asdict(group.mean(metric)) for name, metric in METRICS.items()},
        "images_per_second": None if speed is None else asdict(speed),
        "epochs_to": {f"{level:g}": group.epochs_to(level) for level in levels},
        "agreement": agreement(group, group) if same_images(group.runs) else None,
    }


def header(levels: Sequence[float]) -> list[str]:
    """Of the table of groups."""
    return ["group", "seeds", "accuracy", "loss", "calibration error", "images/s"] + [
        f"epochs to {100 * level:g} %" for level in levels
    ]


def cells(group: Group, levels: Sequence[float]) -> list[str]:
    """A group's row: mean ± half the width of the 95 % t-interval over seeds; one run: Wilson's of the accuracy."""
    speed = group.images_per_second()
    return [
        group.label,
        ", ".join(map(str, group.seeds)),
        _accuracy(group),
        _plain(group.mean("test/loss"), 3),
        _percent(group.mean("test/ece")),
        "–" if speed is None else _plain(speed, 0),
        *(_epochs(group.epochs_to(level)) for level in levels),
    ]


def _accuracy(group: Group) -> str:
    mean = group.mean("test/accuracy")
    if mean.half_width is not None:
        return _percent(mean)
    predictions = group.runs[0].predictions
    right = int((predictions.true == predictions.predicted).sum())
    low, high = wilson_interval(right, len(predictions.true))
    return f"{percent(mean.mean)} ({percent(low)} to {percent(high)}, of the images alone)"


def _percent(mean: Mean) -> str:
    if mean.half_width is None:
        return percent(mean.mean)
    return f"{100 * mean.mean:.2f} ± {100 * mean.half_width:.2f} %"


def _plain(mean: Mean, digits: int) -> str:
    text = f"{mean.mean:,.{digits}f}"
    return text if mean.half_width is None else f"{text} ± {mean.half_width:,.{digits}f}"


def _epochs(epochs: Sequence[int | None]) -> str:
    """A mean where every run got there; of fewer it would hide the slow ones."""
    reached = [epoch for epoch in epochs if epoch is not None]
    if not reached:
        return "not reached"
    if len(reached) < len(epochs):
        return f"{len(reached)} of {len(epochs)} runs got there"
    return _plain(mean_interval(reached), 1 if len(reached) > 1 else 0)


def to_text(comparison: Comparison) -> str:
    """The table and the sentences."""
    rows = [header(comparison.levels), *(cells(group, comparison.levels) for group in comparison.groups)]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    sentences = [printable(pair.sentence) + "." for pair in comparison.pairs]
    notes = [f"note: {printable(note)}" for note in comparison.notes]
    return "\n".join([*table, "", *sentences, *notes]).rstrip()


def to_html(comparison: Comparison, figures: Mapping[str, bytes]) -> str:
    """The page, with the PNGs `curves` and `classes` where they are given. It needs no other file and no network."""
    whole = same_images([run for group in comparison.groups for run in group.runs])
    return fill(
        "src.comparison",
        (percent, points, p_value, spread),
        comparison=comparison,
        header=header(comparison.levels),
        rows=[cells(group, comparison.levels) for group in comparison.groups],
        agreements=[[agreement(a, b) for b in comparison.groups] for a in comparison.groups] if whole else [],
        classes=comparison.classes,
        pictures=pictures(figures),
    )
