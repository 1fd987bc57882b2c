"""All measures of all maps, by method and layer, and of the baselines that do not depend on the model."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from src.explain.agreement import on_grid, rank_correlation, unit_ranks
from src.explain.baselines import centre_blob, pointing_by_chance, random_maps
from src.explain.cams import ONE_BY_ONE
from src.explain.faithfulness import Subject, deletion, insertion, road
from src.explain.perturb import ranks
from src.explain.sanity import randomised, ssim
from src.explain.truth import covered, energy, pointing_game
from src.model.layers import find_layer

RANDOM, CENTRE = "random", "centre"  # names of the baselines, used as a method

Pair = tuple[str, str]  # method, layer
MapsOf = Callable[[nn.Module, str, str], np.ndarray]  # model, method, layer -> maps (N, S, S) of the subject's targets
Progress = Callable[[Iterable[Any], str], Iterable[Any]]  # the steps, and the name of the work


@dataclass(frozen=True, eq=False)
class Marks:
    """Measurements of the maps of one method at one layer. The first axis is the image."""

    removed: np.ndarray  # (N, 2, shares), src.explain.faithfulness.road
    insertion: np.ndarray  # (N, steps + 1)
    deletion: np.ndarray  # (N, steps + 1)
    pointing: np.ndarray | None = None  # (N,), None without masks
    energy: np.ndarray | None = None  # (N,)
    similar: dict[str, np.ndarray] = field(default_factory=dict)  # (N, steps of the cascade); {} untested


def measure(
    subject: Subject,
    maps_of: MapsOf,
    fresh: nn.Module,
    masks: np.ndarray | None,
    methods: Sequence[str],
    layers: Sequence[str],
    progress: Progress = lambda steps, _: steps,
) -> dict[Pair, Marks]:
    """Measure each of `methods` at each of `layers`, then RANDOM and CENTRE.

    `fresh` is the same network with random weights, `masks` bool (N, S, S) or None. Random maps have the resolution of
    the layer. Their pointing game is the mean of many random maps, and their energy is that of a uniform map.
    Methods in ONE_BY_ONE are not tested with random layers, because that takes their maps six more times.
    """
    count, _, size, _ = subject.inputs.shape
    pairs = [(method, layer) for method in methods for layer in layers]
    maps = {pair: maps_of(subject.model, *pair) for pair in progress(pairs, "maps")}
    similar = _similarities(subject.model, fresh, maps_of, maps, progress)
    resolutions = {layer: _resolution(subject, layer) for layer in layers}
    noise = {layer: random_maps(count, size, resolutions[layer], subject.seed) for layer in layers}
    pixels = random_maps(count, size, (size, size), subject.seed)

    def marks(values: np.ndarray, ties: np.ndarray, **more: Any) -> Marks:
        places = ranks(values, ties, pixels)
        if masks is not None:
            more = {"pointing": pointing_game(values, masks), "energy": energy(values, masks)} | more
        removed, added, deleted = (take(subject, places) for take in (road, insertion, deletion))
        return Marks(removed, added, deleted, **more)

    def by_chance(layer: str) -> Marks:
        if masks is None:
            return marks(noise[layer], noise[layer])
        pointing = pointing_by_chance(masks, resolutions[layer], subject.seed)
        return marks(noise[layer], noise[layer], pointing=pointing, energy=covered(masks))

    found = {
        pair: marks(values, noise[pair[1]], similar=similar[pair])
        for pair, values in progress(maps.items(), "pixels removed")
    }
    found |= {(RANDOM, layer): by_chance(layer) for layer in layers}
    centre = marks(centre_blob(count, size), pixels)
    return found | {(CENTRE, layer): centre for layer in layers}


def _similarities(
    model: nn.Module, fresh: nn.Module, maps_of: MapsOf, maps: dict[Pair, np.ndarray], progress: Progress
) -> dict[Pair, dict[str, np.ndarray]]:
    """Similarity of each pair's maps to those after each step of the cascade, (N, steps) each. {} for ONE_BY_ONE."""
    tested = {pair: values for pair, values in maps.items() if pair[0] not in ONE_BY_ONE}
    if not tested:
        return {pair: {} for pair in maps}
    originals = {pair: unit_ranks(on_grid(values)) for pair, values in tested.items()}
    found: dict[Pair, dict[str, list[np.ndarray]]] = {pair: {"rank_correlation": [], "ssim": []} for pair in tested}
    for _, changed in progress(randomised(model, fresh), "layers randomised"):
        for pair, values in tested.items():
            others = maps_of(changed, *pair)
            found[pair]["rank_correlation"].append(rank_correlation(originals[pair], unit_ranks(on_grid(others))))
            found[pair]["ssim"].append(ssim(values, others))
    steps = {pair: {name: np.stack(of, axis=1) for name, of in by.items()} for pair, by in found.items()}
    return {pair: steps.get(pair, {}) for pair in maps}


def _resolution(subject: Subject, layer: str) -> tuple[int, int]:
    """Height and width of the output of `layer`."""
    shapes: list[torch.Size] = []
    with (
        torch.inference_mode(),
        find_layer(subject.model, layer).register_forward_hook(lambda _, __, output: shapes.append(output.shape)),
    ):
        subject.model(subject.inputs[:1])
    height, width = shapes[0][2:]
    return height, width
