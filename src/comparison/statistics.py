"""Whether two groups of runs differ: intervals and tests, from SciPy.

A run is one trained model; the runs of a group differ in their seed. Accuracies are fractions.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

LEVEL = 0.95  # of every interval; a difference is called real where its corrected p is below 1 - LEVEL
POWER = 0.8  # chance to see a difference of the observed size, for the number of seeds that would be needed
MOST_SEEDS = 1000  # above it, "more than"
MOST_SPLITS = 10_000  # of runs into two groups that are all tried; of more than these so many are drawn


@dataclass(frozen=True)
class Mean:
    """The mean of `n` runs and the half width of its 95 % t-interval, None for fewer than two runs."""

    n: int
    mean: float
    half_width: float | None


@dataclass(frozen=True)
class Difference:
    """Second group minus first, with its 95 % interval and the two-sided p of no difference; None where not known."""

    difference: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class Corrected(Difference):
    """One of several differences that are shown together; `p_holm` is p corrected for their number."""

    p_holm: float | None

    @property
    def real(self) -> bool:
        """Whether it is more than chance at 95 %."""
        return self.p_holm is not None and self.p_holm < 1 - LEVEL


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test (1947) on the same test images.

    `only_first` images are right in the first group alone, `only_second` in the second alone; under the null hypothesis
    each of them falls on either side with probability one half.
    """

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class Permutation:
    """A permutation test: `p` is the share of all splits of the runs that are as extreme as the groups; `least` of it.

    Fewer runs give fewer splits: with two and two no p is below a third.
    """

    p: float
    least: float


def mean_interval(values: Sequence[float]) -> Mean:
    """Mean with its t-interval; at least one value."""
    n = len(values)
    if n < 2:
        return Mean(n, float(values[0]), None)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * stats.sem(values))
    return Mean(n, float(np.mean(values)), half)


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Difference of the means by Welch's t-test for unequal variances (Welch, 1947) over runs.

    Without interval and p where a group has fewer than two runs or nothing varies.
    """
    difference = float(np.mean(second) - np.mean(first))
    if min(len(first), len(second)) < 2 or np.ptp(first) == np.ptp(second) == 0:
        return Difference(difference, None, None, None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss")  # a group without variance: the test takes it
        result = stats.ttest_ind(second, first, equal_var=False)
    interval = result.confidence_interval(LEVEL)
    return Difference(difference, float(interval.low), float(interval.high), float(result.pvalue))


def mcnemar(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> McNemar:
    """Compare two answers (N,) to the same images."""
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    discordant = only_first + only_second
    p = float(stats.binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def paired(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> Difference:
    """Difference of the shares that two runs have right of the same images (N,), over images: no other seed is seen.

    The interval is Bonett and Price's (2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data"), which adds an image to either side and so holds for few images and for none
    that differ; p is McNemar's.
    """
    test, n = mcnemar(first_right, second_right), len(first_right)
    gained, lost = (test.only_second + 1) / (n + 2), (test.only_first + 1) / (n + 2)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    low, high = max(-1.0, gained - lost - half), min(1.0, gained - lost + half)
    return Difference((test.only_second - test.only_first) / n, low, high, test.p)


def corrected(found: Sequence[Difference]) -> list[Corrected]:
    """Differences that are shown together, with Holm's correction for the number of those that have a p."""
    after = iter(holm([one.p for one in found if one.p is not None]))
    return [Corrected(o.difference, o.low, o.high, o.p, None if o.p is None else next(after)) for o in found]


def holm(values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, 1979), in the order given, each at most 1."""
    order = np.argsort(values)
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(values) - rank) * values[index])
        corrected[index] = min(1.0, largest)
    return corrected


def seeds_needed(first: Sequence[float], second: Sequence[float]) -> int | None:
    """Runs a group that would show the observed difference with 80 % power at the 5 % level; None where unknown.

    Two-sided t-test with the groups' pooled variance, by the noncentral t distribution (Cohen, 1988). A rough number:
    it takes the observed difference for the true one.
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
    """Whether runs of two groups agree less between the groups than within them (as ANOSIM: Clarke, 1993).

    `agreement` (R, R) is symmetric, of each two runs; the `first` ones are a group, the others the other, and one of
    them has two runs. Where it does not matter for agreement which group a run is of, all splits into groups of these
    sizes are equally likely: p is the share in which within exceeds between by as much as here. Exact up to MOST_SPLITS
    splits, else of so many drawn at random.
    """
    count = len(agreement)
    total = math.comb(count, first)
    if total <= MOST_SPLITS:
        splits = [np.isin(np.arange(count), chosen) for chosen in combinations(range(count), first)]
        least = (2 if 2 * first == count else 1) / total  # of equal sizes the other way round is the same
    else:
        rng = np.random.default_rng(0)
        here = np.arange(count) < first
        splits = [here, *(rng.permutation(here) for _ in range(MOST_SPLITS - 1))]
        least = 1 / MOST_SPLITS
    observed = _apart(agreement, np.arange(count) < first)
    return Permutation(float(np.mean([_apart(agreement, split) >= observed - 1e-12 for split in splits])), least)


def _apart(agreement: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]) -> float:
    """Mean agreement within the groups of two runs or more, less that between the groups."""
    within = [
        agreement[np.ix_(members, members)][np.triu_indices(len(members), 1)].mean()
        for members in (np.flatnonzero(inside), np.flatnonzero(~inside))
        if len(members) > 1
    ]
    return float(np.mean(within) - agreement[inside][:, ~inside].mean())
