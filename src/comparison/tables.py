"""The tables of a comparison as lists of cells, and all of them as text for a terminal."""

from collections.abc import Callable, Sequence

from src.comparison.groups import Group
from src.comparison.maps import Agreements, Maps
from src.comparison.pairs import GroupPair
from src.comparison.quality import TITLES, Means
from src.comparison.result import Comparison
from src.comparison.words import interval, p_value, plus_minus
from src.errors import printable
from src.statistics import Difference, Interval, mean_interval, wilson_interval
from src.wording import percent, percent_interval, points


def header(targets: Sequence[float]) -> list[str]:
    """Header of the table of groups."""
    names = ["group", "seeds", "accuracy", "balanced accuracy", "macro F1", "loss", "calibration error", "images/s"]
    return names + [f"epochs to {100 * target:g} %" for target in targets]


def cells(group: Group, targets: Sequence[float]) -> list[str]:
    """The row of a group: mean ± half the width of the 95 % t-interval over seeds. One run has a Wilson interval."""
    speed = group.images_per_second()
    curves = any(run.curves["val/accuracy"] for run in group.runs)  # False without validation images
    return [
        group.label,
        ", ".join(map(str, group.seeds)),
        _accuracy(group),
        mean_percent(group.mean("test/balanced_accuracy")),
        mean_percent(group.mean("test/macro_f1")),
        _plain(group.mean("test/loss"), 3),
        mean_percent(group.mean("test/ece")),
        "–" if speed is None else _plain(speed, 0),
        *(_epochs(group.epochs_to(target)) if curves else "–" for target in targets),
    ]


def _accuracy(group: Group) -> str:
    mean = group.mean("test/accuracy")
    if mean.half_width is not None:
        return mean_percent(mean)
    predictions = group.runs[0].predictions
    right = int((predictions.true == predictions.predicted).sum())
    bounds = wilson_interval(right, len(predictions.true))
    return f"{percent(mean.mean)} ({percent_interval(*bounds)}, over images only)"


def mean_percent(mean: Interval) -> str:
    """A mean of fractions with half the width of its interval, if it has one: 92.14 ± 0.31 %."""
    if mean.half_width is None:
        return percent(mean.mean)
    return f"{plus_minus(100 * mean.mean, 100 * mean.half_width)} %"


def _plain(mean: Interval, digits: int) -> str:
    return plus_minus(mean.mean, mean.half_width, digits=digits)


def _epochs(epochs: Sequence[int | None]) -> str:
    """The mean if every run reached the accuracy. With fewer runs the mean would hide the slow ones."""
    reached = [epoch for epoch in epochs if epoch is not None]
    if not reached:
        return "not reached"
    if len(reached) < len(epochs):
        return f"reached by {len(reached)} of {len(epochs)} runs"
    return _plain(mean_interval(reached), 1 if len(reached) > 1 else 0)


DIFFERENCES = ["second − first", "measure", "difference", "95 % interval", "Welch p", "Holm"]


def difference_rows(pairs: Sequence[GroupPair]) -> list[list[str]]:
    """Rows of the table DIFFERENCES: the tests over seeds, for each pair of groups."""
    return [
        [pair.label, name, *_tested(pair.over_seeds[measure], form)]
        for pair in pairs
        for measure, (name, form) in FORMATS.items()
        if measure in pair.over_seeds
    ]


def _tested(found: Difference, form: Callable[[float], str]) -> list[str]:
    return [form(found.mean), interval(found, form), p_value(found.p), p_value(found.p_holm)]


def _signed(digits: int) -> Callable[[float], str]:
    return lambda value: plus_minus(value, sign="+", digits=digits)


# By the name in src.comparison.pairs.OVER_SEEDS: title and format.
FORMATS: dict[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("accuracy", points),
    "loss": ("loss", _signed(3)),
    "ece": ("calibration error", points),
    "images_per_second": ("images/s", _signed(0)),
}


SAME_IMAGES = [
    "second − first", "votes", "difference", "95 % interval", "right only in first", "right only in second",
    "McNemar p", "Holm",
]  # fmt: skip


def same_image_rows(pairs: Sequence[GroupPair]) -> list[list[str]]:
    """Rows of the table SAME_IMAGES: the tests over images, for each pair of groups that is compared."""
    return [
        [
            pair.label,
            str(pair.votes),
            points(pair.over_images.mean),
            interval(pair.over_images),
            str(pair.mcnemar.only_first),
            str(pair.mcnemar.only_second),
            p_value(pair.mcnemar.p),
            p_value(pair.mcnemar.p_holm),
        ]
        for pair in pairs
        if pair.over_images is not None and pair.mcnemar is not None
    ]


AGREEMENT = ["maps of", "rank correlation", "by chance", "overlap (IoU)", "by chance", "p over seeds", "Holm"]


def agreement_rows(maps: Maps) -> list[list[str]]:
    """Rows of the table AGREEMENT: each group with at least two runs, then each pair of groups."""
    rows = [
        [f"two seeds of {one.group.label}", *_agreement(one.within), "–", "–"]
        for one in maps.groups
        if one.within is not None
    ]
    for pair in maps.pairs:
        p = ["–", "–"] if (test := pair.over_seeds) is None else [p_value(test.p), p_value(test.p_holm)]
        rows.append([f"{pair.second.group.label} and {pair.first.group.label}", *_agreement(pair.between), *p])
    return rows


def _agreement(found: Agreements) -> list[str]:
    return [
        text
        for one in (found["spearman"], found["iou"])
        for text in (plus_minus(one.mean, one.half_width), plus_minus(one.chance))
    ]


def quality_rows(means: Means) -> list[list[str]]:
    """The table of the quality of the maps with its header first. Empty if there are no values."""
    if not means:
        return []
    names = [TITLES[name] for name in next(iter(means.values()))]
    return [["group", *names], *([label, *(_gain(name, m) for name, m in of.items())] for label, of in means.items())]


def _gain(name: str, mean: Interval) -> str:
    return plus_minus(mean.mean, mean.half_width, "" if name == "randomisation" else "+", digits=3)


def sentences(comparison: Comparison) -> list[str]:
    """All sentences about pairs: accuracy, classes and maps."""
    found = [pair.sentence for pair in comparison.pairs]
    found += [pair.class_sentence for pair in comparison.pairs if pair.classes]
    if comparison.maps:
        found += [pair.sentence for pair in comparison.maps.pairs]
        found += [comparison.maps.limit] if comparison.maps.limit else []
    return found


def to_text(comparison: Comparison) -> str:
    """All tables, sentences and notes as text."""
    groups = [header(comparison.targets), *(cells(group, comparison.targets) for group in comparison.groups)]
    parts = [_table(groups)]
    parts += [_table([DIFFERENCES, *rows])] if (rows := difference_rows(comparison.pairs)) else []
    parts += [_table([SAME_IMAGES, *rows])] if (rows := same_image_rows(comparison.pairs)) else []
    parts += [_table([AGREEMENT, *agreement_rows(comparison.maps)])] if comparison.maps else []
    parts += [_table(rows)] if (rows := quality_rows(comparison.map_quality.means)) else []
    parts.append("\n".join(f"{printable(sentence)}." for sentence in sentences(comparison)))
    notes = [*comparison.notes, *(comparison.maps.notes if comparison.maps else ())]
    notes += [f"the quality of the maps is not compared: {why}"] if (why := comparison.map_quality.why) else []
    parts.append("\n".join(f"note: {printable(note)}" for note in notes))
    return "\n\n".join(filter(None, parts))


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Align the cells in columns."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
