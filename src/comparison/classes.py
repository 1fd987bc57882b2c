"""The classes of the test set: how many of each a group has right, and by how much two groups differ in that."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from src.comparison.groups import Group, same_images
from src.comparison.runs import StoredRun
from src.comparison.statistics import Corrected, Difference, mean_interval, paired, welch
from src.evaluation.metrics import wilson_interval
from src.report.formats import points


@dataclass(frozen=True)
class Recall:
    """The share of a class's test images that is answered right, with its 95 % interval: t over runs, Wilson of one."""

    mean: float
    low: float
    high: float


def recalls(group: Group, name: str) -> Recall:
    """Recall of the class `name`, of which the test set of the group's runs has images."""
    right = [_right(run, name) for run in group.runs]
    mean = mean_interval([float(of_run.mean()) for of_run in right])
    if mean.half_width is None:
        return Recall(mean.mean, *wilson_interval(int(right[0].sum()), len(right[0])))
    return Recall(mean.mean, max(0.0, mean.mean - mean.half_width), min(1.0, mean.mean + mean.half_width))


def class_recalls(groups: Sequence[Group]) -> dict[str, dict[str, Recall]]:
    """By class and label of the group; the classes whose recall differs most come first.

    Empty where the groups answered other images.
    """
    runs = [run for group in groups for run in group.runs]
    if not same_images(runs):
        return {}
    names = class_names(runs[0])
    found = {name: {group.label: recalls(group, name) for group in groups} for name in names}
    return dict(sorted(found.items(), key=lambda item: -spread(item[1].values())))


def spread(found: Iterable[Recall]) -> float:
    """Largest minus smallest mean."""
    means = [recall.mean for recall in found]
    return float(max(means) - min(means))


def class_names(run: StoredRun) -> list[str]:
    """The classes of which the test set has images, sorted."""
    return sorted(set(run.predictions.true.tolist()))


def class_difference(first: Group, second: Group, name: str) -> Difference:
    """Recall of a class, second minus first: Welch's over seeds; of one run each, over the images, which both saw."""
    one, two = ([_right(run, name) for run in group.runs] for group in (first, second))
    if len(one) == len(two) == 1:
        return paired(one[0], two[0])
    found = welch([float(right.mean()) for right in one], [float(right.mean()) for right in two])
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(-1.0, found.low), high=min(1.0, found.high))


def class_sentence(found: Mapping[str, Corrected]) -> str:
    """The classes in which the second group is furthest below and above the first, in words."""
    worst, best = extremes(found)
    if found[worst].difference == found[best].difference:
        return f"the same in every class: {points(found[worst].difference)}"
    text = (
        f"lowest in {worst} ({points(found[worst].difference)}), highest in {best} ({points(found[best].difference)})"
    )
    if all(one.p_holm is None for one in found.values()):
        return f"{text}; nothing can be tested"
    return f"{text}; significant in {sum(one.real for one in found.values())} of {len(found)} classes"


def extremes(found: Mapping[str, Corrected]) -> tuple[str, str]:
    """The classes with the lowest and the highest difference."""
    return min(found, key=lambda n: found[n].difference), max(found, key=lambda n: found[n].difference)


def _right(run: StoredRun, name: str) -> npt.NDArray[np.bool_]:
    """Which images of a class are answered right, (n,)."""
    of_class = run.predictions.true == name
    return np.asarray(run.predictions.predicted[of_class] == name)
