"""Does a map lie on the object? Against true masks, where a data set has them.

The object is not all that a model may use: a map off the object can be right about a model that looks elsewhere.
"""

import numpy as np


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """1 for each map (N, S, S) whose maximum lies within its mask (N, S, S), else 0; float64 (N,).

    Zhang et al.: Top-down Neural Attention by Excitation Backprop. IJCV 2018, https://arxiv.org/abs/1608.00507, without
    their tolerance of 15 pixels: the masks here are exact. Where several pixels share the maximum, as all do in a map
    without evidence, it is the share of them within the mask.
    """
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return np.asarray((highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2)))


def energy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of the sum of each map (N, S, S) that lies within its mask (N, S, S), float64 (N,).

    Wang et al.: Score-CAM. CVPR Workshops 2020, section 4.3, https://arxiv.org/abs/1910.01279. A map without any
    evidence counts as an even one: the share of the image that the mask covers.
    """
    even = maps.max(axis=(1, 2), keepdims=True) == 0
    weights = np.where(even, 1.0, maps)
    return np.asarray((weights * masks).sum(axis=(1, 2)) / weights.sum(axis=(1, 2)))


def covered(masks: np.ndarray) -> np.ndarray:
    """Share of each image within its mask (N, S, S), float64 (N,): the energy of an even map."""
    return np.asarray(masks.mean(axis=(1, 2)))
