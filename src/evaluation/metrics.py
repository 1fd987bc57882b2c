"""Metrics of predictions, as pure functions of logits (N, C) and labels (N,)."""

from typing import NamedTuple

import numpy as np


class ClassScores(NamedTuple):
    """Scores per class, each (C,): fractions or NaN (never predicted, or no such image), and image counts."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    images: np.ndarray


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the class probabilities (N, C), in float64, without overflow."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities (N, C) in float64. Rows sum to 1."""
    return np.asarray(np.exp(log_softmax(logits)))


def mean_probabilities(*logits: np.ndarray) -> np.ndarray:
    """Mean of the class probabilities over several views of the same images. Each view has logits (N, C).

    As usual for ensembles, probabilities are averaged and not logits, so each view has the same weight. In a mean of
    logits, the view with larger logits would dominate. The order of the views does not matter.
    """
    return np.asarray(np.mean([softmax(view) for view in logits], axis=0))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-probability of the true class in nats, without label smoothing."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of images whose true class is among the `k` likeliest, or among all classes if there are fewer.

    Ties rank in class order, so `k=1` agrees with argmax.
    """
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :k]  # (N, k)
    return float((ranked == labels[:, None]).any(axis=1).mean())


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts (C, C), int64, with a row per true class and a column per predicted class."""
    counts = np.bincount(labels * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each class from the counts (C, C) of `confusion_matrix`."""
    hits = np.diag(confusion).astype(np.float64)
    of_class, as_class = confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 gives the NaN of an undefined score
        return ClassScores(hits / as_class, hits / of_class, 2 * hits / (of_class + as_class), of_class)


def balanced_accuracy(scores: ClassScores) -> float:
    """Mean recall of the classes that have images, like `balanced_accuracy_score` of scikit-learn."""
    return float(np.nanmean(scores.recall))


def macro_f1(scores: ClassScores) -> float:
    """Mean F1 of the classes that have images or predictions, like `f1_score(average="macro")` of scikit-learn.

    The F1 of a class is 0 if it has images but is never predicted, or if it is predicted but has no images.
    """
    return float(np.nanmean(scores.f1))
