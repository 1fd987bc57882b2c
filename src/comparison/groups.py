"""Groups of runs that share the values of some parameters, and statistics of a group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from src.comparison.runs import StoredRun, differing
from src.comparison.statistics import Mean, mean_interval
from src.errors import UserError
from src.params import nearest
from src.wording import norm_name

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # validation accuracies; the three highest are used
UNSET = "not set"  # value of a parameter that a run of older code does not have


@dataclass(frozen=True, eq=False)
class Group:
    """At least one run. All runs have the same `values`."""

    label: str  # unique
    values: dict[str, str]  # of the parameters to group by
    runs: Sequence[StoredRun]

    @property
    def seeds(self) -> list[int]:
        return sorted(run.seed for run in self.runs)

    def all_of(self, metric: str) -> list[float]:
        """A metric, such as `test/accuracy`, of each run."""
        return [run.metrics[metric] for run in self.runs]

    def mean(self, metric: str) -> Mean:
        return mean_interval(self.all_of(metric))

    def speeds(self) -> list[float]:
        """Training speed in images/s: the median over epochs, because the first one is slower, of runs that have it."""
        return [float(np.median(c)) for run in self.runs if (c := run.curves["train/images_per_second"])]

    def images_per_second(self) -> Mean | None:
        speeds = self.speeds()
        return mean_interval(speeds) if speeds else None

    def epochs_to(self, level: float) -> list[int | None]:
        """The first epoch, from 1, with a validation accuracy of at least `level`, of each run. None: not reached."""
        return [
            next((epoch for epoch, value in enumerate(run.curves["val/accuracy"], 1) if value >= level), None)
            for run in self.runs
        ]


def grouping_keys(runs: Sequence[StoredRun], asked: Sequence[str] = ()) -> list[str]:
    """The parameters to group by: those in `asked`, else those in which the runs differ, else `norm`.

    Raises UserError if no run has a parameter of that name.
    """
    known = sorted({key for run in runs for key in run.params})
    for key in asked:
        if key not in known:
            hint = nearest(key, known)
            raise UserError(f"--by {key}: no run has a parameter of that name{hint}. Use the keys of params.yaml")
    return list(dict.fromkeys(asked)) or differing(runs) or ["norm"]


def group(runs: Sequence[StoredRun], keys: Sequence[str]) -> list[Group]:
    """Group the runs by the values of `keys`, in the order of these values."""
    found: dict[tuple[str, ...], list[StoredRun]] = {}
    for run in runs:
        found.setdefault(tuple(run.params.get(key, UNSET) for key in keys), []).append(run)
    groups: list[Group] = []
    for values, members in sorted(found.items()):
        label = ", ".join(map(_word, keys, values))
        same = sum(group.label.startswith(label) for group in groups)  # long values with the same beginning
        groups.append(Group(f"{label} ({same + 1})" if same else label, dict(zip(keys, values, strict=True)), members))
    return groups


def _word(key: str, value: str) -> str:
    """layer -> layer norm. The value of another parameter follows its name."""
    text = value if len(value) <= 40 else value[:39] + "…"
    if key == "norm":
        return f"norm {UNSET}" if value == UNSET else norm_name(text)
    return f"{key.rpartition('.')[2]}={text}"


def levels(runs: Sequence[StoredRun]) -> list[float]:
    """The three highest of LEVELS that at least one run reached in validation, or fewer if there are fewer."""
    best = max((value for run in runs for value in run.curves["val/accuracy"]), default=0.0)
    return [level for level in LEVELS if level <= best][-3:]


def vote(runs: Sequence[StoredRun]) -> npt.NDArray[np.str_]:
    """The class that most runs predict for each image, (N,). Ties go to the larger sum of confidences.

    All runs have the same images. For a single run, these are its predictions.
    """
    names, answers = np.unique(np.stack([run.predictions.predicted for run in runs]), return_inverse=True)
    answers = answers.reshape(len(runs), -1)  # (R, N) indices into names
    chosen = answers[..., None] == np.arange(len(names))  # (R, N, C)
    confidence = np.stack([run.predictions.confidence for run in runs])  # (R, N)
    # A vote counts more than the sum of all confidences, which are at most 1 each.
    weight = chosen.sum(0) * (len(runs) + 1.0) + (chosen * confidence[..., None]).sum(0)
    return np.asarray(names[weight.argmax(axis=1)])


def same_images(runs: Sequence[StoredRun]) -> bool:
    """Whether the runs have the same data and test images, as far as the true classes show."""
    first = runs[0]
    return all(r.data == first.data and np.array_equal(r.predictions.true, first.predictions.true) for r in runs)


def agreement(first: Group, second: Group) -> float | None:
    """Mean share of the test images for which two runs, one per group, predict the same class.

    For a group with itself it is the mean over its pairs of runs, and None for a group of one run.
    """
    shares = [
        float(np.mean(a.predictions.predicted == b.predictions.predicted))
        for i, a in enumerate(first.runs)
        for j, b in enumerate(second.runs)
        if first is not second or i < j
    ]
    return float(np.mean(shares)) if shares else None


def same_hardware(runs: Sequence[StoredRun]) -> bool:
    """Whether the runs were trained on the same hardware in the same precision. Otherwise speeds are not comparable."""
    return len({run.hardware for run in runs}) == 1


def findings(groups: Sequence[Group], by: Sequence[str]) -> list[str]:
    """Notes on the runs that matter for the interpretation of the results."""
    notes = []
    runs = [run for group in groups for run in group.runs]
    if not same_images(runs):
        notes.append(
            "the runs have different data or test images. Groups with different ones are not compared. To compare runs "
            f"of the same data, add: --where \"dataset.digest = '{runs[0].data}'\""
        )
    inside = sorted({key for group in groups for key in differing(group.runs)} - set(by))
    if inside:
        notes.append(f"runs of one group differ in more than the seed: {', '.join(inside)}")
    elsewhere = sorted(set(differing(runs)) - set(by) - set(inside))
    if elsewhere:
        notes.append(f"the groups also differ in {', '.join(elsewhere)}, which may cause a difference")
    if not same_hardware(runs):
        notes.append(
            "the runs were trained on different hardware or in different precision. Speeds are only compared between "
            "groups with the same ones"
        )
    if len(groups) == 1:
        notes.append(f"all runs have the same {', '.join(by)}, so there is no pair to compare")
    return notes
