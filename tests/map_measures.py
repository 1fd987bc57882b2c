"""Measures of maps as metrics/gradcam.json has them, made in a moment, for what reads them."""

import numpy as np

from src.explain.faithfulness import SHARES, STEPS
from src.explain.measure import CENTRE, RANDOM, Marks
from src.explain.summary import summarise
from src.explain.verdict import verdict


def measures_of_maps() -> dict[str, object]:
    """What metrics/gradcam.json says of GradCAM at layer2[-2] and at layer4, without masks."""

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
    sample = {"images": 4, "of": 2000, "seed": 0}
    return {"sample": sample, **summarise(found), "verdict": verdict(found, "GradCAM", "layer4")}
