"""Maps that know nothing about the model: what a map of the model has to beat."""

import numpy as np
import torch

from src.explain.truth import pointing_game

DRAWS = 50  # random maps an image, whose mean is what chance gives in the pointing game


def random_maps(count: int, size: int, resolution: tuple[int, int], seed: int, draw: int = 0) -> np.ndarray:
    """Maps (N, S, S), float32 in [0, 1], of noise as coarse as a layer of `resolution` (h, w), enlarged like a map.

    As coarse, because it matters by itself: single pixels taken from all over an image hurt more than one patch does.
    `draw` counts maps of the same kind.
    """
    rng = np.random.default_rng([seed, *resolution, draw])
    noise = torch.from_numpy(rng.random((count, 1, *resolution), dtype=np.float32)).double()  # else equal pixels differ
    large = torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    return np.asarray(large[:, 0].float().numpy())


def pointing_by_chance(masks: np.ndarray, resolution: tuple[int, int], seed: int) -> np.ndarray:
    """How often the maximum of a random map lies within each mask (N, S, S), float64 (N,): the mean of DRAWS maps.

    Not the share that the mask covers: enlarged maps of few values have their maximum at the border of the image more
    often than within it.
    """
    count, size, _ = masks.shape
    drawn = (random_maps(count, size, resolution, seed, draw) for draw in range(1, DRAWS + 1))
    return np.asarray(np.mean([pointing_game(maps, masks) for maps in drawn], axis=0))


def centre_blob(count: int, size: int) -> np.ndarray:
    """`count` times the same map (S, S): a Gaussian in the middle with a deviation of a quarter of the side."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    bell = np.exp(-(at**2) / (2 * 0.25**2))
    blob = np.outer(bell, bell)
    return np.broadcast_to(blob / blob.max(), (count, size, size))
