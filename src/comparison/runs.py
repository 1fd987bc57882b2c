"""Finished runs as the MLflow store has them, with what a comparison needs. The writing side is src/record.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from src import artifacts, tracking
from src.errors import UserError
from src.evaluation.metrics import balanced_accuracy, class_scores, confusion_matrix, macro_f1

NEEDED = ("test/accuracy", "test/loss", "test/ece")
CURVES = ("val/accuracy", "val/loss", "train/images_per_second")


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answers of a run to the N test images, in their order."""

    true: npt.NDArray[np.str_]  # (N,) names of classes
    predicted: npt.NDArray[np.str_]  # (N,)
    confidence: npt.NDArray[np.float64]  # (N,) in [0, 1]


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A finished run."""

    id: str
    name: str
    params: Mapping[str, str]  # by dotted key, as src/record.py writes them
    metrics: Mapping[str, float]  # the last value of each; those of NEEDED and `class_means` are there
    curves: Mapping[str, Sequence[float]]  # each of CURVES by epoch; empty where there is no validation split
    data: str  # digest of the prepared data
    predictions: Predictions
    gradcam: Mapping[str, Any] = field(default_factory=dict)  # metrics/gradcam.json; {} where there is none
    hardware: str = ""  # that it was trained on, with the precision; '' where nobody noted it

    @property
    def seed(self) -> int:
        return int(self.params["seed"])


@dataclass(frozen=True)
class Selection:
    """Runs to compare, oldest first, and in words those that were asked for and left out."""

    runs: Sequence[StoredRun]
    left_out: Sequence[str]


def read_runs(names: Sequence[str] = (), where: str = "") -> Selection:
    """The finished runs that `names` (ids, names of runs or experiments; none: all) and MLflow's filter `where` leave.

    Runs of the same trained model count once, the newest of them. UserError where a name is unknown, MLflow does not
    understand `where`, or no finished run is left.
    """
    store = tracking.Reader()
    runs: list[StoredRun] = []
    left_out: list[str] = []
    models: set[str] = set()
    with TemporaryDirectory() as folder:
        for found in store.runs(names, where):  # newest first
            label = f"{found.info.run_name} ({found.info.run_id[:8]})"
            params, metrics, tags = found.data.params, found.data.metrics, found.data.tags
            if "sweep_key" in tags:  # it trained nothing itself
                continue
            if found.info.status != "FINISHED":
                left_out.append(f"{label} is not finished: {found.info.status.lower()}")
                continue
            missing = [name for name in NEEDED if name not in metrics] + [k for k in ("seed",) if k not in params]
            if missing:
                left_out.append(f"{label} is not complete: it has no {', '.join(missing)}")
                continue
            model = tags.get("model_key", found.info.run_id)
            if model in models:
                left_out.append(f"{label} has the same model as a newer run, which counts")
                continue
            try:
                predictions = read_predictions(store.download(found.info.run_id, "metrics/predictions.csv", folder))
            except UserError as error:
                left_out.append(f"{label} is not complete: {error}")
                continue
            models.add(model)
            data = found.inputs.dataset_inputs if found.inputs is not None else []
            runs.append(
                StoredRun(
                    id=found.info.run_id,
                    name=found.info.run_name,
                    params=params,
                    metrics=class_means(predictions) | metrics,
                    curves={name: store.curve(found.info.run_id, name) if name in metrics else [] for name in CURVES},
                    data=data[0].dataset.digest if data else "",
                    predictions=predictions,
                    gradcam=_gradcam(store, found.info.run_id, folder),
                    hardware=", ".join(tags[key] for key in ("hardware", "precision") if key in tags),
                )
            )
    if not runs:
        reasons = "".join(f"\n  {reason}" for reason in left_out)
        raise UserError(f"no finished run to compare at {tracking.shown_uri()}. Make one with: dvc repro{reasons}")
    return Selection(runs[::-1], left_out)


def _gradcam(store: tracking.Reader, run_id: str, folder: str) -> Mapping[str, Any]:
    """What the stage `gradcam` measured; the metrics that MLflow has may be those of older code."""
    try:
        content = artifacts.read_json(store.download(run_id, "metrics/gradcam.json", folder))
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def read_predictions(file: Path) -> Predictions:
    """The table that the stage `evaluate` wrote; UserError where it is damaged."""
    rows = artifacts.read_csv(file)
    try:
        columns = {name: np.array([row[name] for row in rows]) for name in ("true", "predicted", "confidence")}
        return Predictions(columns["true"], columns["predicted"], columns["confidence"].astype(np.float64))
    except (KeyError, ValueError) as error:
        raise UserError(f"{file.name} is damaged ({type(error).__name__}: {error})") from None


def class_means(predictions: Predictions) -> dict[str, float]:
    """Balanced accuracy and macro F1, as `evaluate` logs them; runs of older code have only their predictions."""
    names, codes = np.unique(np.stack((predictions.true, predictions.predicted)), return_inverse=True)
    true, predicted = codes.reshape(2, -1)
    scores = class_scores(confusion_matrix(true, predicted, len(names)))
    return {"test/balanced_accuracy": balanced_accuracy(scores), "test/macro_f1": macro_f1(scores)}


def differing(runs: Sequence[StoredRun]) -> list[str]:
    """The parameters that shape a model, other than the seed, in which `runs` differ; sorted."""
    keys = {key for run in runs for key in run.params}
    shapeless = ("seed", "recipe", "reference.", "gradcam.", "train.workers", "data.path", "data.url", "data.sha256")
    return sorted(
        key
        for key in keys
        if not key.startswith((*shapeless, "data.mirrors")) and len({run.params.get(key) for run in runs}) > 1
    )
