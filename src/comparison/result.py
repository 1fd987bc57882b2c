"""All results of a comparison, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from src.comparison.classes import class_recalls
from src.comparison.groups import Group, agreement, same_images
from src.comparison.images import SEED
from src.comparison.maps import Agreements, Maps
from src.comparison.pairs import GroupPair, compare_pairs
from src.comparison.quality import MapQuality, map_quality
from src.explain.agreement import CHANCE
from src.statistics import Difference, Interval

METRICS = {
    "accuracy": "test/accuracy",
    "balanced_accuracy": "test/balanced_accuracy",
    "macro_f1": "test/macro_f1",
    "loss": "test/loss",
    "ece": "test/ece",
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """All results of a comparison."""

    by: Sequence[str]  # parameters
    groups: Sequence[Group]
    targets: Sequence[float]  # validation accuracies to count epochs to
    notes: Sequence[str]  # for the reader: runs that were left out, other differences between the runs
    maps: Maps | None = None  # None if no maps were made; `notes` has the reason

    @cached_property
    def pairs(self) -> list[GroupPair]:
        """See `compare_pairs`."""
        return compare_pairs(self.groups)

    @cached_property
    def classes(self) -> dict[str, dict[str, Interval]]:
        """See `class_recalls`."""
        return class_recalls(self.groups)

    @cached_property
    def map_quality(self) -> MapQuality:
        """See src.comparison.quality."""
        return map_quality(self.groups)


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return the content of reports/compare.json. Shares are fractions, and unknown values are null."""
    counts = {group.label: len(group.runs) for group in comparison.groups}
    return {
        "by": list(comparison.by),
        "notes": list(comparison.notes),
        "groups": [_group(group, comparison.targets) for group in comparison.groups],
        "pairs": [_pair(pair) for pair in comparison.pairs],
        "classes": {
            name: {label: asdict(recall) for label, recall in by_label.items()}
            for name, by_label in comparison.classes.items()
        },
        "maps": None if comparison.maps is None else _maps(comparison.maps),
        "worth": {
            label: {name: _mean(mean, counts[label]) for name, mean in means.items()}
            for label, means in comparison.map_quality.means.items()
        },
        "no_worth": comparison.map_quality.why or None,
    }


def _group(group: Group, targets: Sequence[float]) -> dict[str, Any]:
    speed = group.images_per_second()
    return {
        "label": group.label,
        "values": group.values,
        "seeds": group.seeds,
        "runs": [run.id for run in group.runs],
        **{name: _mean(group.mean(metric), len(group.runs)) for name, metric in METRICS.items()},
        "images_per_second": None if speed is None else _mean(speed, len(group.speeds())),
        "epochs_to": {f"{target:g}": group.epochs_to(target) for target in targets},
        "agreement": agreement(group, group) if same_images(group.runs) else None,
    }


def _pair(pair: GroupPair) -> dict[str, Any]:
    welch = pair.welch
    return {
        "first": pair.first.label,
        "second": pair.second.label,
        "welch": None if welch is None else _difference(welch),
        "welch_of": {name: _difference(tested) for name, tested in pair.over_seeds.items() if name != "accuracy"},
        "mcnemar": None
        if pair.mcnemar is None
        else _of(pair.mcnemar, "only_first", "only_second", "p", "p_holm") | {"votes": pair.votes},
        "over_images": None if pair.over_images is None else _difference(pair.over_images, ("low", "high", "p")),
        "interval": None if welch is None or welch.low is None else [welch.low, welch.high],
        "agreement": None if pair.mcnemar is None else agreement(pair.first, pair.second),
        "classes": {name: _difference(tested) for name, tested in pair.classes.items()},
        "sentence": pair.sentence,
        "class_sentence": pair.class_sentence,
    }


def _maps(maps: Maps) -> dict[str, Any]:
    return {
        "method": maps.method,
        "layer": maps.layer,
        "target": "the class that each run predicts",
        "images": len(maps.sample),
        "drawn_with_seed": SEED,
        "notes": list(maps.notes),
        "limit": maps.limit or None,
        "empty": maps.empty,
        "theory": CHANCE,
        "groups": [
            {
                "label": found.group.label,
                "runs": [run.id for run in found.group.runs],
                "seeds": found.group.seeds,
                "within": None if found.within is None else _agreements(found.within),
            }
            for found in maps.groups
        ],
        "pairs": [
            {
                "first": found.first.group.label,
                "second": found.second.group.label,
                "between": _agreements(found.between),
                "over_seeds": found.over_seeds and _of(found.over_seeds, "p", "least", "p_holm"),
                "sentence": found.sentence,
            }
            for found in maps.pairs
        ],
        "columns": [column.label for column in maps.columns],
        "rows": [asdict(row) | {"file": file} for row, file in zip(maps.rows, maps.files, strict=True)],
    }


def _agreements(found: Agreements) -> dict[str, Any]:
    names = ("mean", "half_width", "chance", "lowest", "highest", "same_answer")
    return {measure: _of(one, *names) for measure, one in found.items()}


def _mean(mean: Interval, n: int) -> dict[str, Any]:
    return {"n": n} | _of(mean, "mean", "half_width")


def _difference(found: Difference, names: Sequence[str] = ("low", "high", "p", "p_holm")) -> dict[str, Any]:
    return {"difference": found.mean} | _of(found, *names)


def _of(result: object, *names: str) -> dict[str, Any]:
    return {name: getattr(result, name) for name in names}
