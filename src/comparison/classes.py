"""Recall of each class by group of runs, and its difference between two groups."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from src.comparison.groups import Group, StoredRun, same_images
from src.statistics import Difference, Interval, mean_interval, paired, welch, wilson_interval
from src.wording import points


def recall(group: Group, name: str) -> Interval:
    """Recall of the class `name`, which has images in the test set of the group's runs.

    With a t-interval over runs, or the Wilson interval for a single run.
    """
    right = [_right(run, name) for run in group.runs]
    if len(right) == 1:
        return Interval(float(right[0].mean()), *wilson_interval(int(right[0].sum()), len(right[0])))
    return mean_interval([float(of_run.mean()) for of_run in right]).within(0.0, 1.0)


def class_recalls(groups: Sequence[Group]) -> dict[str, dict[str, Interval]]:
    """Recalls by class and by label of the group. The classes with the largest difference come first.

    Empty if the groups have different test images.
    """
    runs = [run for group in groups for run in group.runs]
    if not same_images(runs):
        return {}
    names = class_names(runs[0])
    found = {name: {group.label: recall(group, name) for group in groups} for name in names}
    return dict(sorted(found.items(), key=lambda item: -spread(item[1].values())))


def spread(found: Iterable[Interval]) -> float:
    """Largest minus smallest mean."""
    means = [one.mean for one in found]
    return float(max(means) - min(means))


def class_names(run: StoredRun) -> list[str]:
    """The classes that have images in the test set, sorted."""
    return sorted(set(run.predictions.true.tolist()))


def class_difference(first: Group, second: Group, name: str) -> Difference:
    """Recall of a class, second minus first: Welch's test over seeds, or over images for two single runs."""
    one, two = ([_right(run, name) for run in group.runs] for group in (first, second))
    if len(one) == len(two) == 1:
        return paired(one[0], two[0])
    return welch([float(right.mean()) for right in one], [float(right.mean()) for right in two]).within(-1.0, 1.0)


def class_sentence(found: Mapping[str, Difference]) -> str:
    """The end of a sentence about the difference in recall: where it is lowest and highest, and its significance."""
    worst, best = extremes(found)
    lowest, highest = found[worst].mean, found[best].mean
    if lowest == highest:
        return f"is the same for every class ({points(lowest)})"
    text = f"is lowest for {worst} ({points(lowest)}) and highest for {best} ({points(highest)})"
    if all(one.p_holm is None for one in found.values()):
        return f"{text}. The differences cannot be tested"
    significant = sum(one.significant for one in found.values())
    return f"{text}. The difference is significant for {significant} of {len(found)} classes"


def extremes(found: Mapping[str, Difference]) -> tuple[str, str]:
    """The classes with the lowest and the highest difference."""
    return min(found, key=lambda n: found[n].mean), max(found, key=lambda n: found[n].mean)


def _right(run: StoredRun, name: str) -> npt.NDArray[np.bool_]:
    """Whether each image of a class is classified correctly, (n,)."""
    of_class = run.predictions.true == name
    return np.asarray(run.predictions.predicted[of_class] == name)
