"""All test results of a model: metrics, scores of each class, and the prediction for each image."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from src.data.prepared import Prepared, Split
from src.evaluation import calibration, metrics
from src.evaluation.calibration import Reliability
from src.evaluation.logits import predict_logits
from src.model.saved import Description
from src.params import Params
from src.results import ClassScores, Evaluation, Prediction
from src.statistics import wilson_interval


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The results on the test set."""

    result: Evaluation
    per_class: Sequence[ClassScores]  # (C,)
    predictions: Sequence[Prediction]  # (N,)
    confusion: np.ndarray  # (C, C)
    reliability: Reliability


def evaluate(
    params: Params,
    model: nn.Module,
    description: Description,
    data: Prepared,
    files: Sequence[str],
    device: torch.device,
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = lambda steps, _: steps,
) -> Evaluated:
    """Evaluate `model` on the test set of `data`. `files` are the paths of its images, or () if they have none.

    With `evaluate.flip`, `flip_accuracy` averages the probabilities of each image and its mirror image. All other
    results use unflipped images. `progress` wraps the batches, given the name of the work.
    """
    labels = data.test.labels

    def logits_of(split: Split, name: str) -> np.ndarray:
        return predict_logits(
            model,
            split,
            description.mean,
            description.std,
            device=device,
            batch_size=params.evaluate.batch_size,
            progress=lambda steps: progress(steps, name),
        )

    start = time.perf_counter()
    logits = logits_of(data.test, "evaluate")  # (N, C)
    seconds = time.perf_counter() - start
    flipped: dict[str, float] = {}
    if params.evaluate.flip:
        mirrored = logits_of(Split(data.test.images[:, :, ::-1], labels), "evaluate mirror images")
        both = metrics.mean_probabilities(logits, mirrored).argmax(axis=1) == labels
        flipped = _accuracy("flip_accuracy", both)
    predicted, confidence = logits.argmax(axis=1), metrics.softmax(logits).max(axis=1)
    right = predicted == labels
    binned = calibration.reliability(confidence, right, params.evaluate.bins)
    confusion = metrics.confusion_matrix(labels, predicted, len(data.classes))
    scores = metrics.class_scores(confusion)
    return Evaluated(
        Evaluation(
            **_accuracy("accuracy", right),
            balanced_accuracy=metrics.balanced_accuracy(scores),
            macro_f1=metrics.macro_f1(scores),
            top5=metrics.top_k_accuracy(logits, labels, 5),
            loss=metrics.cross_entropy(logits, labels),
            ece=calibration.expected_calibration_error(binned),
            images=len(right),
            wrong=int((~right).sum()),
            images_per_second=len(right) / seconds,
            **flipped,
        ),
        [
            ClassScores(name=name, precision=p, recall=r, f1=f, images=n)
            for name, p, r, f, n in zip(data.classes, *(of.tolist() for of in scores), strict=True)
        ],
        [
            Prediction(index=i, file=file, true=data.classes[t], predicted=data.classes[p], confidence=c)
            for i, (file, t, p, c) in enumerate(
                zip(files or [""] * len(labels), labels, predicted, confidence.tolist(), strict=True)
            )
        ],
        confusion,
        binned,
    )


def _accuracy(name: str, right: np.ndarray) -> dict[str, float]:
    """The share of True in `right` (N,) with its 95 % Wilson interval."""
    low, high = wilson_interval(int(right.sum()), len(right))
    return {name: float(right.mean()), f"{name}_low": low, f"{name}_high": high}
