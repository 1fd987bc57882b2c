"""How far two maps of one image agree: in the order of all its pixels, and in where they are highest.

Both measures see a map through its order alone, so the scale of its values does not count. A map without any evidence,
constant over the image, has no order: beside another map it agrees as much as chance does.
"""

import numpy as np
import numpy.typing as npt
from scipy import stats

SHARE = 0.2  # of the pixels that count as the highest: the top quintile
FINEST = 64  # pixels a side of the grid on which maps are compared
# What two maps without anything in common have on average; maps that all favour the middle of an image have more.
CHANCE = {"spearman": 0.0, "iou": SHARE / (2 - SHARE)}  # of sets that hold a share s of the pixels: s² / (2s - s²)

Float32 = npt.NDArray[np.float32]


def on_grid(maps: Float32) -> Float32:
    """Maps (N, S, S) at every so many pixels, (N, P): at most FINEST a side, which is finer than layers see."""
    step = -(-maps.shape[1] // FINEST)
    return np.ascontiguousarray(maps[:, step // 2 :: step, step // 2 :: step]).reshape(len(maps), -1)


def unit_ranks(pixels: Float32) -> Float32:
    """Ranks of the pixels (N, P) of each map, equal ones with their mean rank, centred and of length 1; or all 0."""
    ranks = stats.rankdata(pixels, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    unit = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return np.asarray(unit, dtype=np.float32)


def rank_correlation(first: Float32, second: Float32) -> npt.NDArray[np.float64]:
    """Spearman's correlation (1904) in [-1, 1] of each two maps, (N,), from their `unit_ranks` (N, P).

    0 where one of the two is constant, 1 where both are.
    """
    both_constant = ~first.any(axis=1) & ~second.any(axis=1)
    correlation = np.einsum("np,np->n", first, second, dtype=np.float64)
    return np.clip(np.where(both_constant, 1.0, correlation), -1, 1)


def highest(pixels: Float32) -> Float32:
    """How far each pixel (N, P) belongs to the highest SHARE of its map, in [0, 1]; each row sums to SHARE · P.

    Equal pixels at the limit share what is left for them, so that no order of theirs counts.
    """
    room = SHARE * pixels.shape[1]
    last = int(np.ceil(room)) - 1  # the place of the lowest pixel that belongs, from the highest on
    limit = -np.partition(-pixels, last, axis=1)[:, last, None]
    above, equal = pixels > limit, pixels == limit
    left = (room - above.sum(axis=1, keepdims=True)) / equal.sum(axis=1, keepdims=True)
    return np.where(above, 1.0, equal * left).astype(np.float32)


def overlap(first: Float32, second: Float32) -> npt.NDArray[np.float64]:
    """Intersection over union in [0, 1] of each two sets of pixels, (N,), from `highest` (N, P).

    Of shared pixels the smaller share is common to both. So a constant map has CHANCE with any map of distinct values.
    """
    common = np.minimum(first, second).sum(axis=1, dtype=np.float64)
    return np.asarray(common / np.maximum(first, second).sum(axis=1, dtype=np.float64))
