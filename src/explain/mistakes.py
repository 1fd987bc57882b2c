"""Class activation maps of misclassified test images, with the same images in the same order for every layer."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from src.data.prepared import Prepared
from src.explain.cams import cams_as_set
from src.explain.choose import choose_mistakes
from src.model.inputs import to_input
from src.model.saved import Description
from src.params import Params
from src.results import Prediction


@dataclass(frozen=True, eq=False)
class Mistakes:
    """K misclassified test images, in the order to show them, with maps of the first M."""

    rows: Sequence[Prediction]  # (K,)
    images: np.ndarray  # uint8 (K, S, S, 3)
    of_predicted: dict[str, np.ndarray]  # maps (M, S, S) of the predicted class by layer
    of_true: np.ndarray  # maps (M, S, S) of the true class at the last layer
    images_per_second: float


def explain_mistakes(
    params: Params,
    model: nn.Module,
    description: Description,
    data: Prepared,
    predictions: Sequence[Prediction],
    most: int,
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = lambda steps, _: steps,
) -> Mistakes:
    """Choose mistakes among the `predictions` of all test images, and compute the maps of at most `most` of them.

    `model` is on the device to use. `progress` wraps the batches of a layer, given its name.
    """
    settings = params.gradcam
    wrong = np.array([row.wrong for row in predictions])
    confidence = np.array([row.confidence for row in predictions])
    chosen = choose_mistakes(wrong, confidence, count=settings.count, order=settings.choose, seed=params.seed)
    rows = [predictions[i] for i in chosen]
    images = np.ascontiguousarray(data.test.images[chosen])  # (K, S, S, 3)
    device = next(model.parameters()).device
    inputs = to_input(images[:most], description.mean, description.std, device)  # (M, 3, S, S)
    predicted = [data.classes.index(row.predicted) for row in rows[:most]]
    true = [data.classes.index(row.true) for row in rows[:most]]

    def cams(layer: str, targets: Sequence[int]) -> np.ndarray:
        """Maps (M, S, S) of the classes `targets`."""
        name = f"{settings.method} {layer}"
        return cams_as_set(settings, model, layer, inputs, targets, lambda steps: progress(steps, name))

    of_predicted = {layer: cams(layer, predicted) for layer in dict.fromkeys(settings.layers)}
    start = time.perf_counter()  # after the first call, which loads the library
    of_true = cams(settings.layers[-1], true)
    return Mistakes(rows, images, of_predicted, of_true, len(inputs) / (time.perf_counter() - start))
