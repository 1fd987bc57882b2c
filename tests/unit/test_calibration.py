"""Calibration error against hand-computed bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.evaluation.calibration import expected_calibration_error, reliability

PREDICTIONS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80)


def test_two_bins_by_hand() -> None:
    confidence = np.array([0.3, 0.5, 0.6, 0.8, 1.0])
    correct = np.array([True, False, True, True, False])
    binned = reliability(confidence, correct, 2)
    assert binned.edges.tolist() == [0, 0.5, 1]
    assert binned.counts.tolist() == [2, 3]  # 0.5 closes the first bin
    assert binned.accuracy == pytest.approx([0.5, 2 / 3])
    assert binned.confidence == pytest.approx([0.4, 0.8])
    assert expected_calibration_error(binned) == pytest.approx(2 / 5 * 0.1 + 3 / 5 * (0.8 - 2 / 3))


def test_empty_bins_are_nan_and_weigh_nothing() -> None:
    binned = reliability(np.array([0.95]), np.array([True]), 10)
    assert np.isnan(binned.accuracy[:9]).all()
    assert expected_calibration_error(binned) == pytest.approx(0.05)


def test_always_sure_and_never_right_is_an_error_of_one() -> None:
    assert expected_calibration_error(reliability(np.ones(4), np.zeros(4, dtype=bool), 15)) == 1


@given(PREDICTIONS, st.integers(1, 30))
def test_bins_hold_every_prediction_once(predictions: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = (np.array(column) for column in zip(*predictions, strict=True))
    binned = reliability(confidence, correct, bins)
    filled = binned.counts > 0
    assert binned.counts.sum() == len(predictions)
    assert np.sum(binned.accuracy[filled] * binned.counts[filled]) == pytest.approx(correct.sum())
    assert (binned.confidence[filled] >= binned.edges[:-1][filled] - 1e-12).all()
    assert (binned.confidence[filled] <= binned.edges[1:][filled] + 1e-12).all()


@given(PREDICTIONS)
def test_error_lies_between_the_overall_gap_and_one(predictions: list[tuple[float, bool]]) -> None:
    confidence, correct = (np.array(column) for column in zip(*predictions, strict=True))
    error = expected_calibration_error(reliability(confidence, correct, 15))
    assert abs(confidence.mean() - correct.mean()) - 1e-9 <= error <= 1 + 1e-9
