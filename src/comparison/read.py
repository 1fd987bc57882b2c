"""Read finished runs from the MLflow store. src/record.py writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from src import artifacts, results, tracking
from src.comparison.groups import CURVES, Predictions, StoredRun
from src.errors import UserError
from src.evaluation.metrics import balanced_accuracy, class_scores, confusion_matrix, macro_f1

NEEDED = ("test/accuracy", "test/loss", "test/ece", "seed")  # metrics and parameters


@dataclass(frozen=True)
class Selection:
    """Runs to compare, oldest first, and the reason for each requested run that was left out."""

    runs: Sequence[StoredRun]
    left_out: Sequence[str]


def read_runs(names: Sequence[str] = (), where: str = "") -> Selection:
    """Read the finished runs that `names` and MLflow's filter `where` select.

    `names` are ids, names of runs or names of experiments. If empty, all runs are selected. Of several runs of the same
    trained model only the newest counts. Raises UserError if a name is unknown, if MLflow rejects `where`, or if no
    finished run is left.
    """
    store = tracking.Reader()
    runs: list[StoredRun] = []
    left_out: list[str] = []
    models: set[str] = set()
    with TemporaryDirectory() as folder:
        for found in store.runs(names, where):  # newest first
            label = f"{found.info.run_name} ({found.info.run_id[:8]})"
            params, metrics, tags = found.data.params, found.data.metrics, found.data.tags
            if "sweep_key" in tags:  # the run of a sweep, which has no training of its own
                continue
            if found.info.status != "FINISHED":
                left_out.append(f"{label} is not finished: {found.info.status.lower()}")
                continue
            if missing := [name for name in NEEDED if name not in metrics | params]:
                left_out.append(f"{label} is not complete: it has no {', '.join(missing)}")
                continue
            model = tags.get("model_key", found.info.run_id)
            if model in models:
                left_out.append(f"{label} has the same model as a newer run, which is used instead")
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


def _gradcam(store: tracking.Reader, run_id: str, folder: str) -> results.Maps | None:
    """The measures of the stage `gradcam`, or None if a run of older code has none or has them in another format."""
    try:
        return results.Maps.read(store.download(run_id, "metrics/gradcam.json", folder))
    except UserError:
        return None


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
