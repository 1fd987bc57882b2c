"""Finished runs, and groups of runs that share the values of some parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from src import results
from src.errors import UserError
from src.params import nearest
from src.statistics import Interval, mean_interval
from src.wording import norm_name

CURVES = ("val/accuracy", "val/loss", "train/images_per_second")
TARGETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # validation accuracies to count epochs to
UNSET = "not set"  # value of a parameter that a run of older code does not have
# Beginnings of the parameters that do not affect a model, and the seed.
WITHOUT_EFFECT = (
    "seed", "recipe", "reference.", "gradcam.", "train.workers", "data.path", "data.url", "data.sha256", "data.mirrors",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a run for the N test images, in their order."""

    true: npt.NDArray[np.str_]  # (N,) names of classes
    predicted: npt.NDArray[np.str_]  # (N,)
    confidence: npt.NDArray[np.float64]  # (N,) in [0, 1]


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A finished run."""

    id: str
    name: str
    params: Mapping[str, str]  # by dotted key, as src/record.py writes them
    metrics: Mapping[str, float]  # last values: test/accuracy, test/loss and test/ece, and others
    curves: Mapping[str, Sequence[float]]  # each of CURVES by epoch; empty without a validation split
    data: str  # digest of the prepared data
    predictions: Predictions
    gradcam: results.Maps | None = None  # None without measures of maps in this format
    hardware: str = ""  # of the training, with the precision; '' if it was not recorded

    @property
    def seed(self) -> int:
        return int(self.params["seed"])


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

    def mean(self, metric: str) -> Interval:
        return mean_interval(self.all_of(metric))

    def speeds(self) -> list[float]:
        """Training speed in images/s: the median over epochs, because the first one is slower, of runs that have it."""
        return [float(np.median(c)) for run in self.runs if (c := run.curves["train/images_per_second"])]

    def images_per_second(self) -> Interval | None:
        speeds = self.speeds()
        return mean_interval(speeds) if speeds else None

    def epochs_to(self, accuracy: float) -> list[int | None]:
        """The first epoch, from 1, with at least this validation accuracy, of each run. None if it was not reached."""
        return [
            next((epoch for epoch, value in enumerate(run.curves["val/accuracy"], 1) if value >= accuracy), None)
            for run in self.runs
        ]


def differing(runs: Sequence[StoredRun]) -> list[str]:
    """The parameters in which `runs` differ, sorted, except those in WITHOUT_EFFECT."""
    keys = {key for run in runs for key in run.params if not key.startswith(WITHOUT_EFFECT)}
    return sorted(key for key in keys if len({run.params.get(key) for run in runs}) > 1)


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
        label = ", ".join(map(_label, keys, values))
        same = sum(group.label.startswith(label) for group in groups)  # long values with the same beginning
        groups.append(Group(f"{label} ({same + 1})" if same else label, dict(zip(keys, values, strict=True)), members))
    return groups


def _label(key: str, value: str) -> str:
    """layer -> layer norm. The value of another parameter follows its name."""
    text = value if len(value) <= 40 else value[:39] + "…"
    if key == "norm":
        return f"norm {UNSET}" if value == UNSET else norm_name(text)
    return f"{key.rpartition('.')[2]}={text}"


def reached_targets(runs: Sequence[StoredRun]) -> list[float]:
    """The three highest of TARGETS that at least one run reached, or fewer if there are fewer."""
    best = max((value for run in runs for value in run.curves["val/accuracy"]), default=0.0)
    return [target for target in TARGETS if target <= best][-3:]


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


def notes_on(groups: Sequence[Group], by: Sequence[str]) -> list[str]:
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
