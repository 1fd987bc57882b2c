"""Maps that do not depend on the model. The model's maps must beat them."""

import numpy as np
import torch

from src.explain.truth import pointing_game

DRAWS = 50  # random maps per image, whose mean is the chance level of the pointing game


def random_maps(count: int, size: int, resolution: tuple[int, int], seed: int, draw: int = 0) -> np.ndarray:
    """Maps (N, S, S), float32 in [0, 1], of noise with the `resolution` (h, w) of a layer, enlarged like a map.

    The resolution matters by itself: removing single pixels from all over an image hurts more than removing one patch.
    `draw` numbers the maps of the same kind.
    """
    rng = np.random.default_rng([seed, *resolution, draw])
    noise = torch.from_numpy(rng.random((count, 1, *resolution), dtype=np.float32)).double()  # keeps equal pixels equal
    large = torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    return np.asarray(large[:, 0].float().numpy())


def pointing_by_chance(masks: np.ndarray, resolution: tuple[int, int], seed: int) -> np.ndarray:
    """The chance that the maximum of a random map lies in each mask (N, S, S), float64 (N,), as a mean of DRAWS maps.

    It is not the share that the mask covers, because enlarged maps of few values more often have their maximum at the
    border of the image.
    """
    count, size, _ = masks.shape
    drawn = (random_maps(count, size, resolution, seed, draw) for draw in range(1, DRAWS + 1))
    return np.asarray(np.mean([pointing_game(maps, masks) for maps in drawn], axis=0))


def centre_blob(count: int, size: int) -> np.ndarray:
    """`count` copies of one map (S, S): a centred Gaussian with a standard deviation of a quarter of the side."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    bell = np.exp(-(at**2) / (2 * 0.25**2))
    blob = np.outer(bell, bell)
    return np.broadcast_to(blob / blob.max(), (count, size, size))
