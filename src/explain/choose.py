"""Which of a model's mistakes to explain."""

from collections.abc import Callable

import numpy as np


def first(mistakes: np.ndarray, confidence: np.ndarray, seed: int) -> np.ndarray:
    """In the order of the test set."""
    return mistakes


def confident(mistakes: np.ndarray, confidence: np.ndarray, seed: int) -> np.ndarray:
    """Most confident first; equal ones in the order of the test set."""
    return mistakes[np.argsort(-confidence[mistakes], kind="stable")]


def random(mistakes: np.ndarray, confidence: np.ndarray, seed: int) -> np.ndarray:
    """In an order drawn with `seed`."""
    return np.random.default_rng(seed).permutation(mistakes)


ORDERS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "first": first,
    "confident": confident,
    "random": random,
}


def choose_mistakes(wrong: np.ndarray, confidence: np.ndarray, *, count: int, order: str, seed: int) -> np.ndarray:
    """Indices of at most `count` wrong predictions in the order to show them; empty when nothing is wrong.

    `wrong` (N,) bool and `confidence` (N,) are in the order of the test set; `order` is a name in ORDERS.
    """
    return ORDERS[order](np.flatnonzero(wrong), confidence, seed)[:count]


def choose_sample(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices, sorted, of `count` images drawn with `seed`, of all where there are fewer, whatever their predictions.

    Of each class in `labels` (N,) in proportion to its size, rounded as seats are by Sainte-Laguë: of classes of one
    size equally many, give or take one. Samples with the same seed are nested.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    depth = np.empty(len(labels))  # how much of its class is drawn with an image
    for label in np.unique(labels):
        members = order[labels[order] == label]
        depth[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(order[np.argsort(depth[order], kind="stable")][:count])
