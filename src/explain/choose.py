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
