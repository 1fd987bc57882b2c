"""Maps that know nothing about the model: what a map of the model has to beat."""

import numpy as np
import torch


def random_maps(count: int, size: int, resolution: tuple[int, int], seed: int) -> np.ndarray:
    """Maps (N, S, S), float32 in [0, 1], of noise as coarse as a layer of `resolution` (h, w), enlarged like a map.

    As coarse, because it matters by itself: single pixels taken from all over an image hurt more than one patch does.
    """
    rng = np.random.default_rng([seed, *resolution])
    noise = torch.from_numpy(rng.random((count, 1, *resolution), dtype=np.float32))
    large = torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    return np.asarray(large[:, 0].numpy())


def centre_blob(count: int, size: int) -> np.ndarray:
    """`count` times the same map (S, S): a Gaussian in the middle with a deviation of a quarter of the side."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    bell = np.exp(-(at**2) / (2 * 0.25**2))
    blob = np.outer(bell, bell)
    return np.broadcast_to(blob / blob.max(), (count, size, size))
