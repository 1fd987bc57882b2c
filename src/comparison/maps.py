"""Whether groups look at different places of the same images, and more so than runs of one group do.

Test images are the sample: intervals say what other images would change, for these very models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from src.comparison.groups import Group
from src.comparison.images import strangers
from src.comparison.statistics import Mean, mean_interval
from src.explain.agreement import Float32, highest, on_grid, overlap, rank_correlation, unit_ranks

Values = npt.NDArray[np.float64]


class Seen:
    """The maps (N, S, S) of a run for the classes `answers` (N,), ready to be compared with those of others."""

    def __init__(self, maps: Float32, answers: npt.NDArray[np.str_]) -> None:
        pixels = on_grid(maps)
        self.ranks, self.highest, self.answers = unit_ranks(pixels), highest(pixels), answers

    def agreement(self, other: "Seen", order: npt.NDArray[np.int64] | None = None) -> dict[str, Values]:
        """Of each image (N,), by measure; with `order`, of map i here and map `order[i]` there."""
        there = slice(None) if order is None else order
        return {
            "spearman": rank_correlation(self.ranks, other.ranks[there]),
            "iou": overlap(self.highest, other.highest[there]),
        }


@dataclass(frozen=True)
class Agreement:
    """Mean over images, of the mean over pairs of runs, with half the width of its 95 % t-interval over images."""

    mean: float
    half_width: float | None
    chance: float  # the same, measured for maps of different images
    lowest: float  # of a pair of runs, over images
    highest: float
    same_answer: float | None  # mean over images and pairs of runs that answer them alike; None where none do
    per_image: Values  # (N,)


Agreements = Mapping[str, Agreement]  # by measure: spearman, iou


@dataclass(frozen=True, eq=False)
class GroupMaps:
    """The runs of a group whose maps are compared, and their agreement with each other; None of a single one."""

    group: Group
    within: Agreements | None

    @property
    def sentence(self) -> str:
        """What the rank correlation says."""
        if self.within is None:
            return f"of {self.group.label} there is one run, whose maps agree with no other seed's"
        found = self.within["spearman"]
        size, chance = plus_minus(found.mean, found.half_width), plus_minus(found.chance)
        return (
            f"the maps of two seeds of {self.group.label} have a rank correlation of {size} "
            f"({len(found.per_image)} images; by chance {chance})"
        )


@dataclass(frozen=True, eq=False)
class PairMaps:
    """Two groups: agreement between their runs, and how far that is from the agreement within them.

    `difference` is between minus the mean of within, over images; None where no group has two runs.
    """

    first: GroupMaps
    second: GroupMaps
    between: Agreements
    difference: Mapping[str, Mean] | None

    @property
    def sentence(self) -> str:
        """What the rank correlation says."""
        one, two = self.first.group.label, self.second.group.label
        between, found = self.between["spearman"], self.difference["spearman"] if self.difference else None
        images = f"{len(between.per_image)} images"
        chance = f"by chance {plus_minus(between.chance)}"
        if found is None:
            size = plus_minus(between.mean, between.half_width)
            return (
                f"the maps of {two} and {one} have a rank correlation of {size} ({images}; {chance}); whether that is "
                "less than between two seeds of one group is not known: run at least 2 seeds of each"
            )
        inside = [within["spearman"] for within in (self.first.within, self.second.within) if within]
        numbers = (
            f"rank correlation {plus_minus(between.mean)} between them, "
            f"{plus_minus(float(np.mean([within.mean for within in inside])))} between seeds of one group: "
            f"{plus_minus(found.mean, found.half_width, '+')} over {images}; {_alike(between, inside)}{chance}"
        )
        if found.half_width is None or abs(found.mean) <= found.half_width:
            return f"{two} and {one} differ in where they look no more than seeds of one group do ({numbers})"
        more = "more" if found.mean < 0 else "less"
        apart = (
            between.highest < min(w.lowest for w in inside)
            if found.mean < 0
            else between.lowest > max(w.highest for w in inside)
        )
        caution = "" if apart else "; single pairs of runs overlap, so other seeds may turn it"
        return f"{two} and {one} differ in where they look {more} than seeds of one group do ({numbers}){caution}"


def compare_maps(
    groups: Sequence[Group], maps: Mapping[str, Float32], sample: npt.NDArray[np.int64]
) -> tuple[list[GroupMaps], list[PairMaps]]:
    """Agreement within each group and between each two, from maps (N, S, S) of the test images `sample` by id of run.

    Each is of the class that the run predicts.
    """
    members = [[Seen(maps[run.id], run.predictions.predicted[sample]) for run in group.runs] for group in groups]
    inside = [
        GroupMaps(group, _agreement(list(combinations(runs, 2))) if len(runs) > 1 else None)
        for group, runs in zip(groups, members, strict=True)
    ]
    pairs = []
    for i, j in combinations(range(len(groups)), 2):
        between = _agreement(list(product(members[i], members[j])))
        pairs.append(PairMaps(inside[i], inside[j], between, _difference(between, inside[i].within, inside[j].within)))
    return inside, pairs


def mean_agreement(maps: Sequence[Float32]) -> Values:
    """Rank correlation of each image (N,), the mean over all pairs of two or more runs with maps (N, S, S)."""
    ranks = [unit_ranks(on_grid(found)) for found in maps]
    return np.asarray(np.mean([rank_correlation(a, b) for a, b in combinations(ranks, 2)], axis=0))


def _agreement(pairs: Sequence[tuple[Seen, Seen]]) -> Agreements:
    order = strangers(len(pairs[0][0].ranks))
    found = [a.agreement(b) for a, b in pairs]  # by pair of runs, measure
    by_chance = [a.agreement(b, order) for a, b in pairs]
    alike = np.stack([a.answers == b.answers for a, b in pairs])  # (pairs, N)
    result = {}
    for measure in found[0]:
        values = np.stack([of_pair[measure] for of_pair in found])  # (pairs, N)
        per_image, per_pair = values.mean(axis=0), values.mean(axis=1)
        mean = mean_interval(per_image.tolist())
        result[measure] = Agreement(
            mean=mean.mean,
            half_width=mean.half_width,
            chance=float(np.mean([of_pair[measure] for of_pair in by_chance])),
            lowest=float(per_pair.min()),
            highest=float(per_pair.max()),
            same_answer=float(values[alike].mean()) if alike.any() else None,
            per_image=per_image,
        )
    return result


def _difference(between: Agreements, *within: Agreements | None) -> dict[str, Mean] | None:
    inside = [one for one in within if one is not None]
    if not inside:
        return None
    return {
        measure: mean_interval((found.per_image - np.mean([w[measure].per_image for w in inside], axis=0)).tolist())
        for measure, found in between.items()
    }


def _alike(between: Agreement, inside: Sequence[Agreement]) -> str:
    """The two numbers where answers are the same: another answer is another class to explain."""
    within = [one.same_answer for one in inside if one.same_answer is not None]
    if between.same_answer is None or not within:
        return ""
    return f"where answers are the same {plus_minus(between.same_answer)} and {plus_minus(float(np.mean(within)))}; "


def plus_minus(mean: float, half_width: float | None = None, sign: str = "") -> str:
    """0.62 ± 0.03; with `sign` "+" the mean has one in any case."""
    text = f"{mean:{sign}.2f}".replace("-", "−")
    return text if half_width is None else f"{text} ± {half_width:.2f}"
