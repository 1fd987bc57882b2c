"""Whether groups look at different places of the same images, and more so than runs of one group do.

Intervals say what other test images would change, for these very models; the permutation of runs says what other seeds
would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from src.comparison.groups import Group
from src.comparison.images import Indices, Row, strangers
from src.comparison.statistics import Mean, Permutation, holm, mean_interval, permutation
from src.comparison.words import p_value, plus_minus
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
    per_pair: Values  # of each pair of runs, in their order


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

    `difference` is between minus the mean of within, over images; None where no group has two runs. `over_seeds` asks
    of the rank correlation whether runs of other seeds would agree less between the groups than within them too;
    `p_holm` is its p, corrected for the `together` pairs that are tested.
    """

    first: GroupMaps
    second: GroupMaps
    between: Agreements
    difference: Mapping[str, Mean] | None
    over_seeds: Permutation | None
    p_holm: float | None
    together: int

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
            return (
                f"{two} and {one} are not shown to differ in where they look more than seeds of one group do "
                f"({numbers}){self._seeds}"
            )
        more, seeds = ("more", self._seeds) if found.mean < 0 else ("less", "")
        return (
            f"the runs of {two} and {one} look at different places of these images {more} than runs of one group do "
            f"({numbers}){seeds}"
        )

    @property
    def _seeds(self) -> str:
        """What the permutation of runs says of "more"."""
        if self.over_seeds is None or self.p_holm is None:
            return ""
        p, sizes = self.over_seeds.p, [len(found.group.runs) for found in (self.second, self.first)]
        least = f", the least that {sizes[0]} and {sizes[1]} runs can give" if p == self.over_seeds.least else ""
        many = f"; corrected for {self.together} pairs {p_value(self.p_holm)}" if self.together > 1 else ""
        return f"; over seeds p {p_value(p)}{least}{many}"


@dataclass(frozen=True)
class Column:
    """A run in the figure, with the name and confidence of its answer to each of the K images in the rows."""

    label: str
    predicted: Sequence[str]  # (K,)
    confidence: Sequence[float]  # (K,)
    maps: Float32  # (K, S, S)


@dataclass(frozen=True, eq=False)
class Maps:
    """Everything about maps that is shown."""

    method: str
    layer: str
    image_weight: float  # share of the image under its map, in the figure
    sample: Indices  # (N,) of the test images whose maps are compared
    groups: Sequence[GroupMaps]
    pairs: Sequence[PairMaps]
    empty: int  # maps without any evidence, of N times the number of runs
    rows: Sequence[Row]  # (K,)
    images: npt.NDArray[np.uint8]  # (K, S, S, 3)
    files: Sequence[str]  # (K,) where each image is in the user's folder or archive; '' if it has no file
    true: Sequence[str]  # (K,)
    columns: Sequence[Column]
    notes: Sequence[str]  # what was left out or replaced

    @property
    def runs(self) -> int:
        return sum(len(found.group.runs) for found in self.groups)


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
    chosen = list(combinations(range(len(groups)), 2))
    between = [_agreement(list(product(members[i], members[j]))) for i, j in chosen]
    tested = [_over_seeds(found, inside[i], inside[j]) for found, (i, j) in zip(between, chosen, strict=True)]
    known = [one.p for one in tested if one is not None]
    after = iter(holm(known))
    pairs = [
        PairMaps(
            first=inside[i],
            second=inside[j],
            between=found,
            difference=_difference(found, inside[i].within, inside[j].within),
            over_seeds=one,
            p_holm=None if one is None else next(after),
            together=len(known),
        )
        for found, one, (i, j) in zip(between, tested, chosen, strict=True)
    ]
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
            per_pair=per_pair,
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


def _over_seeds(between: Agreements, first: GroupMaps, second: GroupMaps) -> Permutation | None:
    """Of the rank correlation; None where no group has two runs."""
    if first.within is None and second.within is None:
        return None
    one, two = len(first.group.runs), len(second.group.runs)
    matrix = np.zeros((one + two, one + two))
    matrix[:one, one:] = between["spearman"].per_pair.reshape(one, two)
    for found, start in ((first, 0), (second, one)):
        for (i, j), value in zip(
            combinations(range(start, start + len(found.group.runs)), 2),
            found.within["spearman"].per_pair if found.within else (),
            strict=True,
        ):
            matrix[i, j] = value
    return permutation(matrix + matrix.T, one)


def _alike(between: Agreement, inside: Sequence[Agreement]) -> str:
    """The two numbers where answers are the same: another answer is another class to explain."""
    within = [one.same_answer for one in inside if one.same_answer is not None]
    if between.same_answer is None or not within:
        return ""
    return f"where answers are the same {plus_minus(between.same_answer)} and {plus_minus(float(np.mean(within)))}; "
