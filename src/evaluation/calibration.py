"""Expected calibration error and data for a reliability diagram.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017, https://arxiv.org/abs/1706.04599
"""

from typing import NamedTuple

import numpy as np


class Reliability(NamedTuple):
    """Predictions in M confidence bins of equal width. Bin m has confidences in (m / M, (m + 1) / M]."""

    edges: np.ndarray  # (M + 1,) from 0 to 1
    counts: np.ndarray  # (M,) predictions in the bin
    accuracy: np.ndarray  # (M,) share of right predictions in the bin, NaN for an empty bin
    confidence: np.ndarray  # (M,) mean confidence in the bin, NaN for an empty bin


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int) -> Reliability:
    """Sort predictions (N,) into `bins` bins by confidence in [0, 1]. `correct` is bool (N,)."""
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)  # (N,)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 gives the NaN of an empty bin
        return Reliability(
            edges,
            counts,
            np.bincount(index, weights=correct, minlength=bins) / counts,
            np.bincount(index, weights=confidence, minlength=bins) / counts,
        )


def expected_calibration_error(binned: Reliability) -> float:
    """Mean of |accuracy - confidence| over the bins, weighted by their counts (Guo et al., equation 3)."""
    filled = binned.counts > 0
    gaps = np.abs(binned.accuracy - binned.confidence)[filled]
    return float(np.average(gaps, weights=binned.counts[filled]))
