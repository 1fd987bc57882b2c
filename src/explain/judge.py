"""Measure the maps of a model on a sample of its test images, for metrics/gradcam.json."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from src.data.prepared import Prepared
from src.explain.cams import cams_as_set
from src.explain.choose import choose_sample
from src.explain.faithfulness import Subject
from src.explain.measure import Marks, Pair, measure
from src.explain.sanity import fresh_network
from src.explain.summary import summarise
from src.explain.verdict import verdict
from src.model.inputs import to_input
from src.model.saved import Description
from src.params import Params
from src.results import MapMeasure, Sample


class Judged(NamedTuple):
    """Measures of the maps by name, None if they were not taken, and sentences about them."""

    seconds: float
    sample: Sample
    measures: Mapping[str, MapMeasure | None]
    verdict: list[str]


def judge(
    params: Params,
    model: nn.Module,
    description: Description,
    data: Prepared,
    predicted: Sequence[int],
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = lambda steps, _: steps,
) -> Judged:
    """Measure the maps of `model`, which is on the device to use. `predicted` are the classes of all test images.

    The maps have the settings of the figures, and explain the predicted class. `progress` wraps the steps, given the
    name of the work.
    """
    settings = params.gradcam
    device = next(model.parameters()).device
    chosen = choose_sample(data.test.labels, settings.measure.images, params.seed)
    images = np.ascontiguousarray(data.test.images[chosen])  # (N, S, S, 3)
    targets = [predicted[i] for i in chosen]
    inputs = to_input(images, description.mean, description.std, device)  # (N, 3, S, S)

    def maps_of(network: nn.Module, method: str, layer: str) -> np.ndarray:
        return cams_as_set(settings.model_copy(update={"method": method}), network, layer, inputs, targets)

    found: dict[Pair, Marks] = {}
    start = time.perf_counter()
    if len(chosen):
        found = measure(
            Subject(model, inputs, targets, settings.batch_size, params.seed),
            maps_of,
            fresh_network(description, params.seed).to(device),
            None if data.test_masks is None else data.test_masks[chosen],
            list(dict.fromkeys([settings.method, *settings.measure.methods])),
            list(dict.fromkeys(settings.layers)),
            progress,
        )
    return Judged(
        round(time.perf_counter() - start, 2) if found else 0.0,
        Sample(images=len(chosen), of=len(data.test), seed=params.seed),
        summarise(found),
        verdict(found, settings.method, settings.layers[-1]),
    )
