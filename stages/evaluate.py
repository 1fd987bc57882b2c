"""Test images, touched once: accuracy, loss, calibration, per-class scores, and every prediction."""

import time
from functools import partial

import numpy as np
from torch import nn
from tqdm import tqdm

from src import artifacts
from src.data import prepared
from src.evaluation import calibration, metrics
from src.evaluation.logits import predict_logits
from src.evaluation.summary import model_summary
from src.figures import evaluate as figures
from src.figures.style import save
from src.model.device import resolve_device
from src.model.saved import Description, load_model
from src.params import Params
from src.tracking import Mirror
from stages import compute_turn, run_stage


def main(params: Params) -> None:
    """Evaluate the model, within its MLflow run."""
    model, description = load_model()
    with Mirror(params, description.model_key) as mirror:
        evaluate(params, model, description)
        mirror.upload("evaluate")


def evaluate(params: Params, model: nn.Module, description: Description) -> None:
    """Write metrics/evaluate.json, per_class.csv, predictions.csv and model_summary.txt, and figures/evaluate."""
    data = prepared.load()
    classes, labels = data.classes, data.test.labels
    device = resolve_device(params.device)
    with compute_turn(device):
        start = time.perf_counter()
        logits = predict_logits(
            model,
            data.test,
            description.mean,
            description.std,
            device=device,
            batch_size=params.evaluate.batch_size,
            progress=partial(tqdm, desc="evaluate", unit="batch", delay=1),
        )
        seconds = time.perf_counter() - start
    probabilities = metrics.softmax(logits)  # (N, C)
    predicted, confidence = logits.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == labels
    low, high = metrics.wilson_interval(int(right.sum()), len(right))
    binned = calibration.reliability(confidence, right, params.evaluate.bins)
    error = calibration.expected_calibration_error(binned)
    confusion = metrics.confusion_matrix(labels, predicted, len(classes))

    artifacts.write_json(
        artifacts.METRICS / "evaluate.json",
        {
            "accuracy": float(right.mean()),
            "accuracy_low": low,
            "accuracy_high": high,
            "top5": metrics.top_k_accuracy(logits, labels, 5),
            "loss": metrics.cross_entropy(logits, labels),
            "ece": error,
            "images": len(right),
            "wrong": int((~right).sum()),
            "images_per_second": len(right) / seconds,
        },
    )
    scores = zip(classes, *metrics.class_scores(confusion), strict=True)
    artifacts.write_csv(
        artifacts.METRICS / "per_class.csv",
        [
            {"class": name, "precision": _cell(p), "recall": _cell(r), "f1": _cell(f), "images": int(n)}
            for name, p, r, f, n in scores
        ],
    )
    artifacts.write_csv(
        artifacts.METRICS / "predictions.csv",
        [
            {"index": i, "true": classes[t], "predicted": classes[p], "confidence": f"{c:.6f}"}
            for i, (t, p, c) in enumerate(zip(labels, predicted, confidence, strict=True))
        ],
    )
    folder = artifacts.FIGURES / "evaluate"
    save(figures.confusion_matrix(confusion, classes), folder / "confusion_matrix.png")
    save(figures.reliability_diagram(binned, error), folder / "reliability.png")
    artifacts.write_text(artifacts.METRICS / "model_summary.txt", model_summary(model, data.size))
    print(f"test accuracy {right.mean():.2%} (95 % interval {low:.2%} to {high:.2%}) of {len(right):,} images")


def _cell(value: float) -> str:
    """An undefined score (0 / 0) is an empty cell."""
    return "" if np.isnan(value) else f"{value:.6f}"


if __name__ == "__main__":
    run_stage(main)
