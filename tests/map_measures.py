"""Measures of maps as metrics/gradcam.json has them, made in a moment, for what reads them."""

from typing import Any

import numpy as np

from src.explain.faithfulness import SHARES, STEPS
from src.explain.measure import CENTRE, RANDOM, Marks
from src.explain.summary import summarise
from src.explain.verdict import verdict
from src.results import Maps, Sample


def measures_of_maps(**changes: Any) -> Maps:
    """What metrics/gradcam.json says of GradCAM at layer2[-2] and at layer4, without masks, except for `changes`."""

    def marks(value: float, **similar: np.ndarray) -> Marks:
        around = value + np.linspace(-0.05, 0.05, 4)
        curve = np.repeat(around[:, None], STEPS + 1, axis=1)
        removed = np.stack([0 * curve[:, : len(SHARES)], curve[:, : len(SHARES)]], axis=1)
        return Marks(removed, curve, 1 - curve, None, None, dict(similar))

    alike = np.linspace([0.9, 0.8, 0.7, 0.85], [0.3, 0.2, 0.1, 0.25], 6, axis=1)
    found = {
        (method, layer): marks(value, **({"rank_correlation": alike, "ssim": alike} if method == "GradCAM" else {}))
        for method, value in (("GradCAM", 0.6), (RANDOM, 0.1), (CENTRE, 0.4))
        for layer in ("layer2[-2]", "layer4")
    }
    content = {
        "method": "GradCAM", "layer": "layer4", "grids": {"layer2[-2]": "predicted-layer2.-2", "layer4": "predicted"},
        "wrong": 157, "shown": 1, "images_per_second": 50.0, "sample": Sample(images=4, of=2000, seed=0),
        "verdict": verdict(found, "GradCAM", "layer4"),
    }  # fmt: skip
    return Maps.model_validate(content | summarise(found) | changes)


def untested() -> Maps:
    """The same with maps of ScoreCAM in the figures, which was not tested with random layers."""
    maps = measures_of_maps()
    changes = {
        name: measure.model_copy(update={"methods": {"ScoreCAM": measure.methods["GradCAM"]}})
        for name, measure in maps.measures.items()
    }
    alike = maps.measures["randomisation"]
    ours = alike.methods["GradCAM"]
    changes["randomisation"] = alike.model_copy(update={"methods": {"ScoreCAM": dict.fromkeys(ours), "GradCAM": ours}})
    return measures_of_maps(method="ScoreCAM", **changes)
