"""Intervals and tests for differences between groups of runs, from SciPy.

A run is one trained model. The runs of a group differ in their seed. Accuracies are fractions.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

LEVEL = 0.95  # of every interval; a difference is significant if its corrected p is below 1 - LEVEL
POWER = 0.8  # probability of detecting a difference of the observed size, for the number of seeds needed
MOST_SEEDS = 1000  # larger numbers are reported as "more than"
MOST_SPLITS = 10_000  # splits of the runs into two groups; if there are more, this many are drawn


@dataclass(frozen=True)
class Mean:
    """The mean of `n` runs and half the width of its 95 % t-interval, or None for a single run."""

    n: int
    mean: float
    half_width: float | None


@dataclass(frozen=True)
class Difference:
    """Second group minus first, with its 95 % interval and the two-sided p. None for unknown values."""

    difference: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class Corrected(Difference):
    """One of several differences that are shown together. `p_holm` is p corrected for their number."""

    p_holm: float | None

    @property
    def real(self) -> bool:
        """Whether the difference is significant after correction."""
        return self.p_holm is not None and self.p_holm < 1 - LEVEL


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test (1947) on the same test images.

    `only_first` counts images that only the first group gets right, `only_second` those that only the second gets
    right. Under the null hypothesis each of them falls on either side with probability one half.
    """

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class Permutation:
    """A permutation test. `p` is the share of splits of the runs that are at least as extreme as the groups.

    `least` is the smallest possible p. Fewer runs have fewer splits: with two runs per group, p is at least 1/3.
    """

    p: float
    least: float


def mean_interval(values: Sequence[float]) -> Mean:
    """Mean of at least one value with its t-interval."""
    n = len(values)
    if n < 2:
        return Mean(n, float(values[0]), None)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * stats.sem(values))
    return Mean(n, float(np.mean(values)), half)


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Difference of the means by Welch's t-test for unequal variances (Welch, 1947) over runs.

    Without interval and p if a group has fewer than two runs, or if no value varies.
    """
    difference = float(np.mean(second) - np.mean(first))
    if min(len(first), len(second)) < 2 or np.ptp(first) == np.ptp(second) == 0:
        return Difference(difference, None, None, None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss")  # for a group without variance, which the test supports
        result = stats.ttest_ind(second, first, equal_var=False)
    interval = result.confidence_interval(LEVEL)
    return Difference(difference, float(interval.low), float(interval.high), float(result.pvalue))


def mcnemar(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> McNemar:
    """Compare two sets of predictions for the same images. Both arguments are (N,), True if the prediction is right."""
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
    test, n = mcnemar(first_right, second_right), len(first_right)
    gained, lost = (test.only_second + 1) / (n + 2), (test.only_first + 1) / (n + 2)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    low, high = max(-1.0, gained - lost - half), min(1.0, gained - lost + half)
    return Difference((test.only_second - test.only_first) / n, low, high, test.p)


def corrected(found: Sequence[Difference]) -> list[Corrected]:
    """Apply Holm's correction to differences that are shown together, for the number of those that have a p."""
    after = iter(holm([one.p for one in found if one.p is not None]))
    return [Corrected(o.difference, o.low, o.high, o.p, None if o.p is None else next(after)) for o in found]


def holm(values: Sequence[float]) -> list[float]:
    """P-values with Holm's correction (1979), in the given order, each at most 1."""
    order = np.argsort(values)
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(values) - rank) * values[index])
        corrected[index] = min(1.0, largest)
    return corrected


def seeds_needed(first: Sequence[float], second: Sequence[float]) -> int | None:
    """Runs per group to detect the observed difference with 80 % power at the 5 % level. None if unknown.

    Two-sided t-test with the pooled variance of the groups, by the noncentral t distribution (Cohen, 1988). It is a
    rough estimate, because it treats the observed difference as the true one.
    """
    if min(len(first), len(second)) < 2:
        return None
    deviation = math.sqrt((np.var(first, ddof=1) + np.var(second, ddof=1)) / 2)
    difference = abs(float(np.mean(first) - np.mean(second)))
    if deviation == 0 or difference == 0:
        return None
    for n in range(2, MOST_SEEDS + 1):
        free, shift = 2 * n - 2, difference / deviation * math.sqrt(n / 2)
        limit = stats.t.ppf((1 + LEVEL) / 2, free)
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
