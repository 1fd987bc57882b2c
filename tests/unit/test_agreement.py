"""How far two maps agree, against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from src.explain.agreement import CHANCE, FINEST, highest, on_grid, overlap, rank_correlation, unit_ranks

RAMP = [0.0, 0.1, 0.2, 0.3, 0.4]
MAPS = arrays(np.float32, (3, 10, 10), elements=st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0]))


def pixels(*maps: list[float]) -> np.ndarray:
    return np.array(maps, dtype=np.float32)


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return rank_correlation(unit_ranks(first), unit_ranks(second))


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return overlap(highest(first), highest(second))


def test_rank_correlation() -> None:
    first = pixels(RAMP, RAMP, RAMP)
    second = pixels([0.0, 0.2, 0.1, 0.9, 1.0], RAMP[::-1], [0.0, 0.0, 0.0, 0.3, 0.3])
    # 1 - 6 Σd² / (n (n² - 1)) with Σd² = 2; the reverse; ranks 2, 2, 2, 4.5, 4.5 beside 1 to 5: 7.5 / sqrt(10 · 7.5)
    assert spearman(first, second) == pytest.approx([0.9, -1, 7.5 / np.sqrt(75)], abs=1e-6)


def test_rank_correlation_is_scipys() -> None:
    first, second = np.random.default_rng(0).integers(0, 6, (2, 4, 50)).astype(np.float32)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]
    assert spearman(first, second) == pytest.approx(expected, abs=1e-6)


def test_overlap_of_the_top_fifth() -> None:
    ramp = np.arange(10.0)  # the top fifth is the last two
    maps = np.stack([ramp, ramp, ramp]).astype(np.float32)
    others = np.stack([ramp, np.roll(ramp, -1), ramp[::-1]]).astype(np.float32)  # of the second: places 7 and 8
    assert iou(maps, others) == pytest.approx([1, 1 / 3, 0])


def test_equal_pixels_share_the_room_that_is_left() -> None:
    tied = pixels([0.9, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0])  # room for two: the first, and a quarter of each of four
    assert highest(tied)[0].tolist() == [1, 0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0, 0]
    plain = pixels([0.9, 0.8, 0, 0, 0, 0, 0, 0, 0, 0])
    assert iou(tied, plain) == pytest.approx([1.25 / 2.75])


def test_a_part_of_a_pixel_belongs() -> None:
    assert highest(pixels([3, 2, 1, 0, 0, 0])) == pytest.approx(np.array([[1, 0.2, 0, 0, 0, 0]]))  # a fifth of six


def test_maps_without_evidence_agree_as_by_chance() -> None:
    empty, ramp = np.zeros((1, 100), np.float32), np.arange(100, dtype=np.float32)[None]
    assert spearman(empty, ramp) == spearman(ramp, empty) == [0]
    assert iou(empty, ramp) == pytest.approx([CHANCE["iou"]])
    assert spearman(empty, empty) == iou(empty, empty) == [1]
    assert spearman(ramp, ramp + 1) == pytest.approx([1])


def test_chance_is_that_of_independent_maps() -> None:
    first, second = np.random.default_rng(0).random((2, 500, 400), dtype=np.float32)
    assert pytest.approx(1 / 9) == CHANCE["iou"]
    assert iou(first, second).mean() == pytest.approx(CHANCE["iou"], abs=0.003)
    assert spearman(first, second).mean() == pytest.approx(CHANCE["spearman"], abs=0.01)


@given(MAPS, MAPS)
def test_a_map_agrees_wholly_with_itself_and_equally_both_ways(first: np.ndarray, second: np.ndarray) -> None:
    first, second = on_grid(first), on_grid(second)
    for measure, lowest in ((spearman, -1), (iou, 0)):
        both = measure(first, second)
        assert both.tolist() == measure(second, first).tolist()
        assert ((lowest <= both) & (both <= 1)).all()
        assert measure(first, first) == pytest.approx(np.ones(3), abs=1e-5)
        assert measure(first, first * np.float32(0.5)) == pytest.approx(np.ones(3), abs=1e-5)  # scale does not count
    assert highest(first).sum(axis=1) == pytest.approx(np.full(3, 20), rel=1e-5)


@pytest.mark.parametrize(("size", "side"), [(32, 32), (64, 64), (72, 36), (512, 64)])
def test_large_maps_are_compared_on_a_coarser_grid(size: int, side: int) -> None:
    ramp = np.tile(np.arange(size, dtype=np.float32), (2, size, 1))
    grid = on_grid(ramp)
    assert grid.shape == (2, side**2)
    assert side <= FINEST
    assert grid[0, 0] == size // side // 2  # the middle of the first pixels
