"""Agreement of two maps of one image: in the order of all pixels, and in the position of the highest values.

Both measures only depend on the order of the pixels, not on the scale of the values. A constant map, which has no
evidence, has no order. Its agreement with another map is that of chance.
"""

import numpy as np
import numpy.typing as npt
from scipy import stats

SHARE = 0.2  # of the pixels count as the highest: the top fifth
FINEST = 64  # pixels per side of the grid on which maps are compared
# Mean of two unrelated maps. Maps that all favour the centre of an image agree more. For sets that hold a share s of
# the pixels, the expected IoU is s² / (2s - s²).
CHANCE = {"spearman": 0.0, "iou": SHARE / (2 - SHARE)}

Float32 = npt.NDArray[np.float32]


def on_grid(maps: Float32) -> Float32:
    """Sample maps (N, S, S) on a regular grid, (N, P), of at most FINEST pixels per side. Layers are coarser."""
    step = -(-maps.shape[1] // FINEST)
    return np.ascontiguousarray(maps[:, step // 2 :: step, step // 2 :: step]).reshape(len(maps), -1)


def unit_ranks(pixels: Float32) -> Float32:
    """Ranks of the pixels (N, P) of each map, centred and scaled to length 1, or all 0. Ties get their mean rank."""
    ranks = stats.rankdata(pixels, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    unit = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return np.asarray(unit, dtype=np.float32)


def rank_correlation(first: Float32, second: Float32) -> npt.NDArray[np.float64]:
    """Spearman's correlation (1904) in [-1, 1] of each pair of maps, (N,), from their `unit_ranks` (N, P).

    It is 0 if one of the two is constant, and 1 if both are.
    """
    both_constant = ~first.any(axis=1) & ~second.any(axis=1)
    correlation = np.einsum("np,np->n", first, second, dtype=np.float64)
    return np.clip(np.where(both_constant, 1.0, correlation), -1, 1)


def highest(pixels: Float32) -> Float32:
    """The degree in [0, 1] to which each pixel (N, P) is among the highest SHARE of its map. Rows sum to SHARE · P.

    Equal pixels at the limit share the remaining places, so their order does not matter.
    """
    room = SHARE * pixels.shape[1]
    last = int(np.ceil(room)) - 1  # rank of the lowest pixel that still belongs, counted from the highest
    limit = -np.partition(-pixels, last, axis=1)[:, last, None]
    above, equal = pixels > limit, pixels == limit
    left = (room - above.sum(axis=1, keepdims=True)) / equal.sum(axis=1, keepdims=True)
    return np.where(above, 1.0, equal * left).astype(np.float32)


def overlap(first: Float32, second: Float32) -> npt.NDArray[np.float64]:
    """Intersection over union in [0, 1] of each pair of pixel sets, (N,), from `highest` (N, P).

    Partial pixels intersect in the smaller of the two shares. So a constant map has CHANCE with any map without ties.
    """
    common = np.minimum(first, second).sum(axis=1, dtype=np.float64)
    return np.asarray(common / np.maximum(first, second).sum(axis=1, dtype=np.float64))
