"""Compare maps with the true masks of objects, if a data set has them.

A model may use more than the object. A map away from the object is right if the model uses the background.
"""

import numpy as np


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """1 for each map (N, S, S) whose maximum lies in its mask (N, S, S), else 0, float64 (N,).

    Zhang et al.: Top-down Neural Attention by Excitation Backprop. IJCV 2018, https://arxiv.org/abs/1608.00507, but
    without their tolerance of 15 pixels, because the masks here are exact. If several pixels share the maximum, as in a
    map without evidence, the value is the share of them in the mask.
    """
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return np.asarray((highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2)))


def energy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of the sum of each map (N, S, S) that lies in its mask (N, S, S), float64 (N,).

    Wang et al.: Score-CAM. CVPR Workshops 2020, section 4.3, https://arxiv.org/abs/1910.01279. A map without any
    evidence counts as a uniform one: its energy is the share of the image that the mask covers.
    """
    even = maps.max(axis=(1, 2), keepdims=True) == 0
    weights = np.where(even, 1.0, maps)
    return np.asarray((weights * masks).sum(axis=(1, 2)) / weights.sum(axis=(1, 2)))


def covered(masks: np.ndarray) -> np.ndarray:
    """Share of each image in its mask (N, S, S), float64 (N,). It is the energy of a uniform map."""
    return np.asarray(masks.mean(axis=(1, 2)))
