"""Select the misclassified images to explain, and the sample of images to measure maps on."""

from collections.abc import Callable

import numpy as np


def first(mistakes: np.ndarray, confidence: np.ndarray, seed: int) -> np.ndarray:
    """Keep the order of the test set."""
    return mistakes


def confident(mistakes: np.ndarray, confidence: np.ndarray, seed: int) -> np.ndarray:
    """Put the most confident mistakes first. Ties keep the order of the test set."""
    return mistakes[np.argsort(-confidence[mistakes], kind="stable")]


def random(mistakes: np.ndarray, confidence: np.ndarray, seed: int) -> np.ndarray:
    """Draw an order with `seed`."""
    return np.random.default_rng(seed).permutation(mistakes)


ORDERS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "first": first,
    "confident": confident,
    "random": random,
}


def choose_mistakes(wrong: np.ndarray, confidence: np.ndarray, *, count: int, order: str, seed: int) -> np.ndarray:
    """Indices of at most `count` wrong predictions, in the order to show them. Empty if nothing is wrong.

    `wrong` (N,) bool and `confidence` (N,) are in the order of the test set. `order` is a name in ORDERS.
    """
    return ORDERS[order](np.flatnonzero(wrong), confidence, seed)[:count]


def choose_sample(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted indices of `count` images drawn with `seed`, or of all images if there are fewer.

    The sample is stratified by `labels` (N,), with Sainte-Laguë rounding: classes of equal size get equally many images
    or differ by one. Predictions do not matter. Samples with the same seed are nested.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    depth = np.empty(len(labels))  # share of its class that is drawn up to this image
    for label in np.unique(labels):
        members = order[labels[order] == label]
        depth[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(order[np.argsort(depth[order], kind="stable")][:count])
