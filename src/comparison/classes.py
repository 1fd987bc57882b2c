"""Recall of each class by group of runs, and its difference between two groups."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from src.comparison.groups import Group, same_images
from src.comparison.runs import StoredRun
from src.comparison.statistics import Corrected, Difference, mean_interval, paired, welch
from src.evaluation.metrics import wilson_interval
from src.wording import points


@dataclass(frozen=True)
class Recall:
    """The recall of a class with its 95 % interval: t-interval over runs, or Wilson interval for a single run."""

    mean: float
    low: float
    high: float


def recalls(group: Group, name: str) -> Recall:
    """Recall of the class `name`, which has images in the test set of the group's runs."""
    right = [_right(run, name) for run in group.runs]
    mean = mean_interval([float(of_run.mean()) for of_run in right])
    if mean.half_width is None:
        return Recall(mean.mean, *wilson_interval(int(right[0].sum()), len(right[0])))
    return Recall(mean.mean, max(0.0, mean.mean - mean.half_width), min(1.0, mean.mean + mean.half_width))


def class_recalls(groups: Sequence[Group]) -> dict[str, dict[str, Recall]]:
    """Recalls by class and by label of the group. The classes with the largest difference come first.

    Empty if the groups have different test images.
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
    """The classes that have images in the test set, sorted."""
    return sorted(set(run.predictions.true.tolist()))


def class_difference(first: Group, second: Group, name: str) -> Difference:
    """Recall of a class, second minus first: Welch's test over seeds, or over images for two single runs."""
    one, two = ([_right(run, name) for run in group.runs] for group in (first, second))
    if len(one) == len(two) == 1:
        return paired(one[0], two[0])
    found = welch([float(right.mean()) for right in one], [float(right.mean()) for right in two])
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(-1.0, found.low), high=min(1.0, found.high))


def class_sentence(found: Mapping[str, Corrected]) -> str:
    """The end of a sentence about the difference in recall: where it is lowest and highest, and its significance."""
    worst, best = extremes(found)
    if found[worst].difference == found[best].difference:
        return f"is the same for every class ({points(found[worst].difference)})"
    text = (
        f"is lowest for {worst} ({points(found[worst].difference)}) and highest for {best} "
        f"({points(found[best].difference)})"
    )
    if all(one.p_holm is None for one in found.values()):
        return f"{text}. The differences cannot be tested"
    real = sum(one.real for one in found.values())
    return f"{text}. The difference is significant for {real} of {len(found)} classes"


def extremes(found: Mapping[str, Corrected]) -> tuple[str, str]:
    """The classes with the lowest and the highest difference."""
    return min(found, key=lambda n: found[n].difference), max(found, key=lambda n: found[n].difference)


def _right(run: StoredRun, name: str) -> npt.NDArray[np.bool_]:
    """Whether each image of a class is classified correctly, (n,)."""
    of_class = run.predictions.true == name
    return np.asarray(run.predictions.predicted[of_class] == name)
