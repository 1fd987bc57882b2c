"""Intervals and tests, from SciPy.

`scipy.stats` takes 0.5 to 2 s to import, so each function that needs it imports it.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95  # level of every interval, unless a function is given another one
ALPHA = 1 - CONFIDENCE  # a difference is significant if its corrected p is below
POWER = 0.8  # probability of detecting a difference of the observed size, for the number of seeds needed
MOST_SEEDS = 1000  # larger numbers are reported as "more than"
MOST_SPLITS = 10_000  # splits of the runs into two groups; if there are more, this many are drawn


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds of its confidence interval. They are None if they are unknown."""

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def half_width(self) -> float | None:
        """The number after ±, for an interval that is symmetric about the mean."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def within(self, lowest: float, highest: float) -> Self:
        """The interval without what lies outside of the range of its values."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(lowest, self.low), high=min(highest, self.high))


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A test result. `p_holm` is its p corrected for the number of results that are shown together, by `corrected`."""

    p_holm: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the result is significant after correction."""
        return self.p_holm is not None and self.p_holm < ALPHA


@dataclass(frozen=True)
class Difference(Interval, Tested):
    """Mean of the second group minus that of the first, with the two-sided p, or None if nothing can be tested."""

    p: float | None = None


@dataclass(frozen=True)
class McNemar(Tested):
    """McNemar's exact test (1947) on the same test images.

    `only_first` counts images that only the first group gets right, `only_second` those that only the second gets
    right. Under the null hypothesis each of them falls on either side with probability one half.
    """

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class Permutation(Tested):
    """A permutation test. `p` is the share of splits of the runs that are at least as extreme as the groups.

    `least` is the smallest possible p. Fewer runs have fewer splits: with two runs per group, p is at least 1/3.
    """

    p: float
    least: float


Key = TypeVar("Key")
Test = TypeVar("Test", Difference, McNemar, Permutation)


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Bounds of the Wilson score interval (Wilson, 1927) of the share `correct / total`.

    Unlike the normal approximation, it stays in [0, 1] and has a width at 0 and at `total` correct.
    """
    from scipy import stats

    bounds = stats.binomtest(correct, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(bounds.low), float(bounds.high)


def mean_interval(values: Sequence[float] | np.ndarray, level: float = CONFIDENCE) -> Interval:
    """Mean of at least one value with its t-interval at `level`. A single value has no bounds."""
    from scipy import stats

    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean)
    half_width = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / n**0.5)
    return Interval(mean, mean - half_width, mean + half_width)


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Difference of the means by Welch's t-test for unequal variances (Welch, 1947) over runs.

    Without interval and p if a group has fewer than two runs, or if no value varies.
    """
    from scipy import stats

    difference = float(np.mean(second) - np.mean(first))
    if min(len(first), len(second)) < 2 or np.ptp(first) == np.ptp(second) == 0:
        return Difference(difference)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss")  # for a group without variance, which the test supports
        result = stats.ttest_ind(second, first, equal_var=False)
    bounds = result.confidence_interval(CONFIDENCE)
    return Difference(difference, float(bounds.low), float(bounds.high), float(result.pvalue))


def mcnemar(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> McNemar:
    """Compare two sets of predictions for the same images. Both arguments are (N,), True if the prediction is right."""
    from scipy import stats

    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    discordant = only_first + only_second
    p = float(stats.binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def paired(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> Difference:
    """Difference of the accuracies of two runs on the same images (N,), tested over images and not over seeds.

    The interval is by Bonett and Price (2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data"). It adds one image to either side, so it is valid for few images, and if no
    prediction differs. p is McNemar's.
    """
    from scipy import stats

    test, n = mcnemar(first_right, second_right), len(first_right)
    gained, lost = (test.only_second + 1) / (n + 2), (test.only_first + 1) / (n + 2)
    centre, z = gained - lost, float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    half_width = z * math.sqrt((gained + lost - centre**2) / (n + 2))
    difference = (test.only_second - test.only_first) / n
    return Difference(difference, centre - half_width, centre + half_width, test.p).within(-1.0, 1.0)


def corrected(found: Mapping[Key, Test]) -> dict[Key, Test]:
    """Apply Holm's correction to results that are shown together, for the number of those that have a p."""
    tested = {key: one.p for key, one in found.items() if one.p is not None}
    p_holm = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {key: replace(one, p_holm=p_holm.get(key)) for key, one in found.items()}


def holm(values: Sequence[float]) -> list[float]:
    """P-values with Holm's correction (1979), in the given order, each at most 1."""
    p, count = np.array(values, dtype=float), len(values)
    order = np.argsort(p)
    p[order] = np.minimum(1, np.maximum.accumulate((count - np.arange(count)) * p[order]))
    return list(map(float, p))


def seeds_needed(first: Sequence[float], second: Sequence[float]) -> int | None:
    """Runs per group to detect the observed difference with 80 % power at the 5 % level. None if unknown.

    Two-sided t-test with the pooled variance of the groups, by the noncentral t distribution (Cohen, 1988). It is a
    rough estimate, because it treats the observed difference as the true one.
    """
    from scipy import stats

    if min(len(first), len(second)) < 2:
        return None
    deviation = math.sqrt((np.var(first, ddof=1) + np.var(second, ddof=1)) / 2)
    difference = abs(float(np.mean(first) - np.mean(second)))
    if deviation == 0 or difference == 0:
        return None
    for n in range(2, MOST_SEEDS + 1):
        free, shift = 2 * n - 2, difference / deviation * math.sqrt(n / 2)
        limit = stats.t.ppf((1 + CONFIDENCE) / 2, free)
        if 1 - stats.nct.cdf(limit, free, shift) + stats.nct.cdf(-limit, free, shift) >= POWER:
            return n
    return MOST_SEEDS + 1


def permutation(agreement: npt.NDArray[np.float64], first: int) -> Permutation:
    """Test whether runs of two groups agree less with each other than within their groups (ANOSIM, Clarke, 1993).

    `agreement` (R, R) is symmetric and holds each pair of runs. The `first` runs are one group and the others the other
    one, and at least one group has two runs. Under the null hypothesis all splits into groups of these sizes are
    equally likely. p is the share of splits in which the agreement within groups exceeds that between groups by at
    least as much as observed. It is exact up to MOST_SPLITS splits. With more, this many are drawn at random.
    """
    count = len(agreement)
    total = math.comb(count, first)
    if total <= MOST_SPLITS:
        splits = [np.isin(np.arange(count), chosen) for chosen in combinations(range(count), first)]
        least = (2 if 2 * first == count else 1) / total  # with equal sizes, swapping the groups gives the same value
    else:
        rng = np.random.default_rng(0)
        here = np.arange(count) < first
        splits = [here, *(rng.permutation(here) for _ in range(MOST_SPLITS - 1))]
        least = 1 / MOST_SPLITS
    observed = _apart(agreement, np.arange(count) < first)
    return Permutation(float(np.mean([_apart(agreement, split) >= observed - 1e-12 for split in splits])), least)


def _apart(agreement: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]) -> float:
    """Mean agreement within the groups of at least two runs, minus that between the groups."""
    within = [
        agreement[np.ix_(members, members)][np.triu_indices(len(members), 1)].mean()
        for members in (np.flatnonzero(inside), np.flatnonzero(~inside))
        if len(members) > 1
    ]
    return float(np.mean(within) - agreement[inside][:, ~inside].mean())
