"""Evaluate the model on the test set: accuracy, loss, calibration, per-class scores and every prediction."""

import time
from functools import partial

import numpy as np
from torch import nn
from tqdm import tqdm

from src import artifacts
from src.data import prepared
from src.data.prepared import Split
from src.evaluation import calibration, metrics
from src.evaluation.logits import predict_logits
from src.evaluation.summary import model_summary
from src.figures import evaluate as figures
from src.figures.style import save
from src.model.device import resolve_device
from src.model.saved import Description, load_model
from src.params import Params
from src.tracking import Mirror
from src.wording import percent
from stages import compute_turn, run_stage


def main(params: Params) -> None:
    """Evaluate the model in its MLflow run."""
    model, description = load_model()
    with Mirror(params, description.model_key) as mirror:
        evaluate(params, model, description)
        mirror.upload("evaluate")


def evaluate(params: Params, model: nn.Module, description: Description) -> None:
    """Write metrics/evaluate.json, per_class.csv, predictions.csv and model_summary.txt, and figures/evaluate.

    With `evaluate.flip`, `flip_accuracy` averages the probabilities of each image and its mirror image. All other
    results use unflipped images. The column `file` of predictions.csv is the path of an image in the user's folder or
    archive, and empty for other sources.
    """
    data = prepared.load()
    classes, labels = data.classes, data.test.labels
    files = prepared.load_files("test") or [""] * len(labels)
    device = resolve_device(params.device)

    def logits_of(split: Split, name: str) -> np.ndarray:
        return predict_logits(
            model,
            split,
            description.mean,
            description.std,
            device=device,
            batch_size=params.evaluate.batch_size,
            progress=partial(tqdm, desc=name, unit="batch", delay=1),
        )

    flipped: dict[str, float] = {}
    with compute_turn(device):
        start = time.perf_counter()
        logits = logits_of(data.test, "evaluate")
        seconds = time.perf_counter() - start
        if params.evaluate.flip:
            mirrored = logits_of(Split(data.test.images[:, :, ::-1], labels), "evaluate mirror images")
            both = metrics.mean_probabilities(logits, mirrored).argmax(axis=1) == labels
            flipped = _accuracy("flip_accuracy", both)
    probabilities = metrics.softmax(logits)  # (N, C)
    predicted, confidence = logits.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == labels
    result = _accuracy("accuracy", right)
    binned = calibration.reliability(confidence, right, params.evaluate.bins)
    error = calibration.expected_calibration_error(binned)
    confusion = metrics.confusion_matrix(labels, predicted, len(classes))
    scores = metrics.class_scores(confusion)
    balanced, macro = metrics.balanced_accuracy(scores), metrics.macro_f1(scores)

    artifacts.write_json(
        artifacts.METRICS / "evaluate.json",
        {
            **result,
            "balanced_accuracy": balanced,
            "macro_f1": macro,
            "top5": metrics.top_k_accuracy(logits, labels, 5),
            "loss": metrics.cross_entropy(logits, labels),
            "ece": error,
            "images": len(right),
            "wrong": int((~right).sum()),
            "images_per_second": len(right) / seconds,
            **flipped,
        },
    )
    artifacts.write_csv(
        artifacts.METRICS / "per_class.csv",
        [
            {"class": name, "precision": _cell(p), "recall": _cell(r), "f1": _cell(f), "images": int(n)}
            for name, p, r, f, n in zip(classes, *scores, strict=True)
        ],
    )
    artifacts.write_csv(
        artifacts.METRICS / "predictions.csv",
        [
            {"index": i, "file": f, "true": classes[t], "predicted": classes[p], "confidence": f"{c:.6f}"}
            for i, (f, t, p, c) in enumerate(zip(files, labels, predicted, confidence, strict=True))
        ],
    )
    folder = artifacts.FIGURES / "evaluate"
    save(figures.confusion_matrix(confusion, classes), folder / "confusion_matrix.png")
    save(figures.reliability_diagram(binned, error), folder / "reliability.png")
    artifacts.write_text(artifacts.METRICS / "model_summary.txt", model_summary(model, data.size))
    low, high = result["accuracy_low"], result["accuracy_high"]
    print(
        f"test accuracy {percent(right.mean())} (95 % interval {percent(low)} to {percent(high)}) "
        f"on {len(right):,} images"
    )
    print(f"balanced accuracy {percent(balanced)}, macro F1 {percent(macro)}")


def _accuracy(name: str, right: np.ndarray) -> dict[str, float]:
    """The share of True in `right` (N,) with its 95 % Wilson interval."""
    low, high = metrics.wilson_interval(int(right.sum()), len(right))
    return {name: float(right.mean()), f"{name}_low": low, f"{name}_high": high}


def _cell(value: float) -> str:
    """Format a score. An undefined one (0 / 0) becomes an empty cell."""
    return "" if np.isnan(value) else f"{value:.6f}"


if __name__ == "__main__":
    run_stage(main)
