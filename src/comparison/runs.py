"""Finished runs with the data that a comparison needs. src/comparison/stored.py reads them from MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from src import artifacts, results
from src.errors import UserError
from src.evaluation.metrics import balanced_accuracy, class_scores, confusion_matrix, macro_f1

NEEDED = ("test/accuracy", "test/loss", "test/ece")
CURVES = ("val/accuracy", "val/loss", "train/images_per_second")


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
    metrics: Mapping[str, float]  # last values, including NEEDED and those of `class_means`
    curves: Mapping[str, Sequence[float]]  # each of CURVES by epoch; empty without a validation split
    data: str  # digest of the prepared data
    predictions: Predictions
    gradcam: results.Maps | None = None  # None without measures of maps in this format
    hardware: str = ""  # of the training, with the precision; '' if it was not recorded

    @property
    def seed(self) -> int:
        return int(self.params["seed"])


def read_predictions(file: Path) -> Predictions:
    """Read the table that the stage `evaluate` wrote. Raises UserError if it is damaged."""
    rows = artifacts.read_csv(file)
    try:
        columns = {name: np.array([row[name] for row in rows]) for name in ("true", "predicted", "confidence")}
        return Predictions(columns["true"], columns["predicted"], columns["confidence"].astype(np.float64))
    except (KeyError, ValueError) as error:
        raise UserError(f"{file.name} is damaged ({type(error).__name__}: {error})") from None


def class_means(predictions: Predictions) -> dict[str, float]:
    """Balanced accuracy and macro F1 as in `evaluate`, for runs of older code, which only have predictions."""
    names, codes = np.unique(np.stack((predictions.true, predictions.predicted)), return_inverse=True)
    true, predicted = codes.reshape(2, -1)
    scores = class_scores(confusion_matrix(true, predicted, len(names)))
    return {"test/balanced_accuracy": balanced_accuracy(scores), "test/macro_f1": macro_f1(scores)}


def differing(runs: Sequence[StoredRun]) -> list[str]:
    """The parameters that affect a model, except the seed, in which `runs` differ, sorted."""
    keys = {key for run in runs for key in run.params}
    shapeless = ("seed", "recipe", "reference.", "gradcam.", "train.workers", "data.path", "data.url", "data.sha256")
    return sorted(
        key
        for key in keys
        if not key.startswith((*shapeless, "data.mirrors")) and len({run.params.get(key) for run in runs}) > 1
    )
