"""Intervals and tests against cases worked out by hand or printed in tables."""

import math

import numpy as np
import pytest

from src.statistics import (
    MOST_SEEDS,
    MOST_SPLITS,
    Difference,
    Interval,
    McNemar,
    Permutation,
    corrected,
    holm,
    mcnemar,
    mean_interval,
    paired,
    permutation,
    seeds_needed,
    welch,
    wilson_interval,
)


def test_wilson_interval() -> None:
    # 8 of 10, z = 1.96: centre (0.8 + 0.19207) / 1.38415 = 0.71674, spread 0.22661
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == 1


def test_the_interval_of_a_mean() -> None:
    # Deviation 1, so the error of the mean is 1 / sqrt(3); Student's table has 4.303 for two degrees of freedom.
    found = mean_interval([1.0, 2.0, 3.0])
    half_width = 4.302653 / math.sqrt(3)
    assert (found.low, found.mean, found.high) == pytest.approx((2 - half_width, 2, 2 + half_width), abs=1e-6)
    assert found.half_width == pytest.approx(half_width, abs=1e-6)
    wider = mean_interval(np.array([1.0, 2.0, 3.0]), level=0.99)
    assert wider.half_width == pytest.approx(9.924843 / math.sqrt(3), abs=1e-6)


def test_one_run_has_no_interval() -> None:
    assert mean_interval([0.5]) == Interval(0.5, None, None)
    assert Interval(0.5).half_width is None


def test_an_interval_is_cut_to_a_range() -> None:
    assert Interval(0.5, -1, 0.75).within(0, 1) == Interval(0.5, 0, 0.75)
    assert Difference(0.5, -1, 2, 0.1).within(-1, 1) == Difference(0.5, -1, 1, 0.1)
    assert Interval(0.5).within(0, 1) == Interval(0.5)


def test_welch_with_equal_variances() -> None:
    # t = 2 / sqrt(2/3), so t² = 6, with 4 degrees of freedom, for which the distribution has a closed form:
    # F(t) = 1/2 + 3/8 x (1 - x²/12), x² = t² / (1 + t²/4) = 2.4
    found = welch([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])
    assert found.mean == 2.0
    assert found.p == pytest.approx(2 * (0.5 - 3 / 8 * math.sqrt(2.4) * 0.8), abs=1e-12)
    half = 2.776445 * math.sqrt(2 / 3)  # Student's table, 4 degrees of freedom
    assert (found.low, found.high) == (pytest.approx(2 - half, abs=1e-6), pytest.approx(2 + half, abs=1e-6))


def test_welch_with_one_group_that_does_not_vary() -> None:
    # The degrees of freedom are those of the other group, 2: F(t) = 1/2 + t / (2 sqrt(2 + t²)), t² = 4 / (1/3) = 12
    found = welch([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-12)


def test_welch_is_second_minus_first() -> None:
    assert welch([3.0, 4.0, 5.0], [1.0, 2.0, 3.0]).mean == -2.0


@pytest.mark.parametrize(("first", "second"), [([1.0], [2.0, 3.0]), ([1.0, 2.0], [3.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_welch_without_variance_tests_nothing(first: list[float], second: list[float]) -> None:
    found = welch(first, second)
    assert found.mean > 0
    assert (found.low, found.high, found.p) == (None, None, None)


def test_mcnemar_is_a_binomial_test_of_the_images_that_differ() -> None:
    first = np.array([True] * 5 + [True] + [False] * 7 + [False] * 3)
    second = np.array([True] * 5 + [False] + [True] * 7 + [False] * 3)
    # Of 8 images at most 1 on one side: 2 (1 + 8) / 2^8
    assert mcnemar(first, second) == McNemar(only_first=1, only_second=7, p=pytest.approx(18 / 256))


def test_mcnemar_of_the_same_answers() -> None:
    right = np.array([True, False])
    assert mcnemar(right, right).p == 1.0


def test_paired_shares() -> None:
    first = np.array([True] * 10 + [True] * 2 + [False] * 5 + [False] * 3)
    second = np.array([True] * 10 + [False] * 2 + [True] * 5 + [False] * 3)
    found = paired(first, second)
    # Of 20 images 2 and 5 differ; one more on either side: 3/22 and 6/22, apart by 3/22
    half = 1.959964 * math.sqrt((9 / 22 - (3 / 22) ** 2) / 22)
    assert found.mean == pytest.approx(3 / 20)
    assert (found.low, found.high) == pytest.approx((3 / 22 - half, 3 / 22 + half), abs=1e-6)
    assert found.p == pytest.approx(2 * (1 + 7 + 21) / 2**7)


def test_paired_shares_that_are_equal_or_as_different_as_can_be() -> None:
    right, wrong = np.ones(3, bool), np.zeros(3, bool)
    same = paired(right, right)
    assert (same.mean, same.p) == (0, 1)
    assert same.low == pytest.approx(-1.959964 * math.sqrt(2 / 5 / 5), abs=1e-6)
    assert paired(wrong, right).high == 1  # cut off
    assert paired(right, wrong).low == -1


def test_what_is_shown_together_is_corrected_together() -> None:
    found = corrected({"a": Difference(1, 0, 2, 0.03), "b": Difference(2), "c": Difference(3, 1, 5, 0.01)})
    assert {key: one.mean for key, one in found.items()} == {"a": 1, "b": 2, "c": 3}
    assert [one.p_holm for one in found.values()] == [0.03, None, 0.02]  # of two that were tested
    assert [one.significant for one in found.values()] == [True, False, True]
    assert corrected({}) == {}


def test_holm() -> None:
    # 3 × 0.01; 2 × 0.03; 0.04, which may not be less than the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("deviation", "needed"), [(1.0, 17), (1.25, 26), (2.0, 64)])
def test_seeds_needed_are_those_of_cohens_table(deviation: float, needed: int) -> None:
    # Cohen (1988), table 2.4.1, power 0.80: effects of 1.0, 0.8 and 0.5
    first = [0.0, deviation, 2 * deviation]
    assert seeds_needed(first, [1 + value for value in first]) == needed


def test_seeds_needed_is_unknown_or_more_than_anyone_runs() -> None:
    assert seeds_needed([1.0], [1.0, 2.0]) is None
    assert seeds_needed([1.0, 2.0], [1.0, 2.0]) is None
    assert seeds_needed([1.0, 1.0], [2.0, 2.0]) is None
    assert seeds_needed([0.0, 1000.0], [1.0, 1001.0]) == MOST_SEEDS + 1


def test_permutation_counts_the_splits_that_are_as_extreme() -> None:
    # Of runs 0 to 3 the pairs 01 and 23 agree most: of the three splits into two and two this is the most extreme,
    # within 0.9 and between 0.1; the others have 0.1 within and 0.5 between.
    agreement = np.full((4, 4), 0.1)
    agreement[0, 1] = agreement[1, 0] = agreement[2, 3] = agreement[3, 2] = 0.9
    assert permutation(agreement, 2) == Permutation(pytest.approx(1 / 3), pytest.approx(1 / 3))
    other = agreement[np.ix_([0, 2, 1, 3], [0, 2, 1, 3])]
    assert permutation(other, 2).p == 1
    # Groups of two and one: within is that of the two, here 0.9 beside 0.1; all splits are different ones.
    assert permutation(agreement[:3, :3], 2) == Permutation(pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert permutation(np.full((6, 6), 0.5), 3) == Permutation(1, 0.1)


def test_permutation_is_at_the_level_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        values = rng.random((6, 6))
        found.append(permutation(values + values.T, 3).p)
    assert 0.05 < np.mean([p <= 0.1 for p in found]) < 0.15  # 0.1, with a deviation of 0.017


def test_permutation_of_many_runs_is_drawn() -> None:
    agreement = np.kron(np.eye(2), np.ones((9, 9)))
    found = permutation(agreement, 9)
    assert found.least == 1 / MOST_SPLITS
    assert found.least <= found.p < 5 / MOST_SPLITS  # 2 of 48,620 splits, and the groups themselves
    assert permutation(np.ones((18, 18)), 9).p == 1
