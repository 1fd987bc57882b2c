"""Two groups of runs beside each other: tests, and what they say in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from src.comparison.groups import Group, same_images, vote
from src.comparison.statistics import LEVEL, MOST_SEEDS, McNemar, Welch, holm, mcnemar, seeds_needed, welch

ALPHA = 1 - LEVEL


@dataclass(frozen=True, eq=False)
class Pair:
    """The test accuracy of `second` minus that of `first`; `p_*` are Holm's, over the pairs of one comparison.

    `welch` and `mcnemar` are None where the groups saw other data: then nothing is compared.
    """

    first: Group
    second: Group
    welch: Welch | None
    mcnemar: McNemar | None  # of the majority votes of the groups' runs
    p_welch: float | None = None
    p_mcnemar: float | None = None

    @property
    def sentence(self) -> str:
        """What the tests say."""
        one, two = self.first.label, self.second.label
        if self.welch is None or self.mcnemar is None or self.p_mcnemar is None:
            return f"{two} and {one} are not compared: their runs saw different data or test images"
        count, difference = seed_count(self.first, self.second), self.welch.difference
        size = f"{100 * abs(difference):.1f}"
        relation = f"points {'below' if difference < 0 else 'above'} {one}"
        alone = min(len(self.first.runs), len(self.second.runs)) < 2
        if alone:
            beginning = f"{two} is {size} {relation}" if difference else f"{two} and {one} have the same accuracy"
            verdict = "is more than chance" if self.p_mcnemar < ALPHA else "may be chance"
            return (
                f"{beginning} with {count}; as to these test images the difference {verdict} "
                f"(McNemar p {p_value(self.p_mcnemar)}), but what another seed would change is not known: "
                "run at least 2 seeds of each"
            )
        if self.welch.low is None or self.welch.high is None or self.p_welch is None:
            if difference == 0:
                return f"{two} and {one} have the same accuracy; {count}, among which nothing varies"
            return f"{two} is {size} {relation}; {count}, among which nothing varies, so nothing can be tested"
        if self.p_welch < ALPHA:
            half = 100 * (self.welch.high - self.welch.low) / 2
            return f"{two} is {size} ± {half:.1f} {relation}; {count}; the difference is real at 95 %"
        needed = seeds_needed(self.first.all_of("test/accuracy"), self.second.all_of("test/accuracy"))
        more = ""
        if needed is not None and needed > min(len(self.first.runs), len(self.second.runs)):
            more = f"; more than {MOST_SEEDS:,}" if needed > MOST_SEEDS else f"; about {needed}"
            more += " would be needed"
        return f"{two} and {one} cannot be told apart with {count}{more}"


def compare(groups: Sequence[Group]) -> list[Pair]:
    """Every pair of groups, with p-values corrected for their number, those of each test apart."""
    pairs = [_pair(first, second) for first, second in combinations(groups, 2)]
    welch_p = {i: p.welch.p for i, p in enumerate(pairs) if p.welch is not None and p.welch.p is not None}
    mcnemar_p = {i: p.mcnemar.p for i, p in enumerate(pairs) if p.mcnemar is not None}
    over_seeds = dict(zip(welch_p, holm(list(welch_p.values())), strict=True))
    over_images = dict(zip(mcnemar_p, holm(list(mcnemar_p.values())), strict=True))
    return [replace(pair, p_welch=over_seeds.get(i), p_mcnemar=over_images.get(i)) for i, pair in enumerate(pairs)]


def _pair(first: Group, second: Group) -> Pair:
    runs = [*first.runs, *second.runs]
    if not same_images(runs):
        return Pair(first, second, None, None)
    true = runs[0].predictions.true
    over_images = mcnemar(vote(first.runs) == true, vote(second.runs) == true)
    return Pair(first, second, welch(first.all_of("test/accuracy"), second.all_of("test/accuracy")), over_images)


def seed_count(first: Group, second: Group) -> str:
    """How many runs the groups have, in words."""
    one, two = len(first.runs), len(second.runs)
    if one == two:
        return "1 seed" if one == 1 else f"{one} seeds"
    return f"{two} and {one} seeds"


def p_value(p: float) -> str:
    """0.0312 -> 0.031, and what is too small to matter how small."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
