"""Whether the maps of two groups differ more than those of two seeds of one group.

Intervals show the effect of other test images, for these models. The permutation test shows the effect of other seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from src.comparison.groups import Group, StoredRun
from src.comparison.images import Indices, Sample, ShownImage, by_answers, by_maps, derangement
from src.comparison.words import p_value
from src.explain.agreement import Float32, highest, on_grid, overlap, rank_correlation, unit_ranks
from src.statistics import ALPHA, Interval, Permutation, corrected, holm, mean_interval, permutation

MOST_GROUPS = 6  # groups with maps, and columns of the figure

Values = npt.NDArray[np.float64]


class RunMaps:
    """The maps (N, S, S) of a run for the classes `answers` (N,), prepared for comparison with those of other runs."""

    def __init__(self, maps: Float32, answers: npt.NDArray[np.str_]) -> None:
        pixels = on_grid(maps)
        self.ranks, self.highest, self.answers = unit_ranks(pixels), highest(pixels), answers

    def agreement(self, other: "RunMaps", order: npt.NDArray[np.int64] | None = None) -> dict[str, Values]:
        """Agreement per image (N,) by measure. With `order`, of map i here and map `order[i]` of the other run."""
        there = slice(None) if order is None else order
        return {
            "spearman": rank_correlation(self.ranks, other.ranks[there]),
            "iou": overlap(self.highest, other.highest[there]),
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Agreement(Interval):
    """Mean over images of the mean over pairs of runs, with its t-interval over images."""

    chance: float  # the same mean for maps of different images
    same_answer: float | None  # mean over images and pairs of runs with the same prediction; None without any
    per_pair: Values  # mean over images of each pair of runs, in their order

    @property
    def lowest(self) -> float:
        """The mean over images of the pair of runs that agrees least."""
        return float(self.per_pair.min())

    @property
    def highest(self) -> float:
        return float(self.per_pair.max())


Agreements = Mapping[str, Agreement]  # by measure: spearman, iou


@dataclass(frozen=True, eq=False)
class GroupMaps:
    """The runs of a group whose maps are compared, and their agreement with each other, or None for a single run."""

    group: Group
    within: Agreements | None


@dataclass(frozen=True, eq=False)
class PairMaps:
    """Two groups: the agreement between their runs, and whether it is lower than between runs of one group.

    `over_seeds` tests the rank correlation by permuting runs. It is None if no group has two runs.
    """

    first: GroupMaps
    second: GroupMaps
    between: Agreements
    over_seeds: Permutation | None

    @property
    def sentence(self) -> str:
        """The result of the permutation test."""
        both = f"{self.second.group.label} and {self.first.group.label}"
        if self.over_seeds is None:
            return (
                f"it is unknown whether the maps of {both} differ by more than those of two seeds. Run at least 2 "
                "seeds of each"
            )
        if self.over_seeds.significant:
            return f"the maps of {both} differ significantly more than those of two seeds of one group"
        return f"for the maps of {both} there is no evidence of a difference beyond that between random seeds"


@dataclass(frozen=True)
class Column:
    """A run in the figure, with its predicted class and confidence for each of the K images in the rows."""

    label: str
    predicted: Sequence[str]  # (K,)
    confidence: Sequence[float]  # (K,)
    maps: Float32  # (K, S, S)


@dataclass(frozen=True, eq=False)
class Maps:
    """All results about maps."""

    method: str
    layer: str
    image_weight: float  # weight of the image in an overlay of the figure
    sample: Indices  # (N,) of the test images whose maps are compared
    groups: Sequence[GroupMaps]
    pairs: Sequence[PairMaps]
    empty: int  # number of maps without any evidence, among N per run
    rows: Sequence[ShownImage]  # (K,)
    images: npt.NDArray[np.uint8]  # (K, S, S, 3)
    files: Sequence[str]  # (K,) paths in the user's folder or archive; '' for an image without a file
    true: Sequence[str]  # (K,)
    columns: Sequence[Column]
    notes: Sequence[str]  # what was left out or replaced

    @property
    def runs(self) -> int:
        return sum(len(found.group.runs) for found in self.groups)

    @property
    def limit(self) -> str:
        """Why no pair can differ significantly, however different its maps are. '' if one can."""
        tested = [(pair, pair.over_seeds.least) for pair in self.pairs if pair.over_seeds is not None]
        if not tested or min(holm([least for _, least in tested])) < ALPHA:
            return ""
        sizes = {(len(pair.first.group.runs), len(pair.second.group.runs)) for pair, _ in tested}
        few = "{} and {} seeds".format(*sizes.pop()) if len(sizes) == 1 else "so few seeds"
        smallest = p_value(min(least for _, least in tested))
        many = " before correction" if len(tested) > 1 else ""
        return f"{few} cannot show a difference between maps, because the smallest possible p is {smallest}{many}"


def compare_maps(
    groups: Sequence[Group],
    maps: Mapping[str, npt.NDArray[np.uint8]],
    sample: Sample,
    method: str,
    layer: str,
    image_weight: float,
    notes: Sequence[str] = (),
) -> Maps:
    """Compare the `maps` (N, S, S) of at least two runs, by id of the run, of the images of `sample`.

    Maps are uint8 with 255 for 1. The figure shows the run with the lowest seed of each group, or the runs of a single
    group. Its images are from the sample: one or all of these runs get them wrong, or their maps disagree most.
    """
    shares = {run_id: found.astype(np.float32) / np.float32(255) for run_id, found in maps.items()}
    inside, pairs = agreements(groups, shares, sample.indices)
    shown = _columns(groups)
    answers = {run.id: run.predictions.predicted[sample.indices] for run in shown.values()}
    first = next(iter(shown.values()))
    true = first.predictions.true[sample.indices]
    rows = by_answers(sample.indices, np.stack([found == true for found in answers.values()]), list(shown))
    rows += by_maps(sample.indices, mean_agreement([shares[run.id] for run in shown.values()]), rows)
    places = np.searchsorted(sample.indices, [row.index for row in rows])
    return Maps(
        method=method,
        layer=layer,
        image_weight=image_weight,
        sample=sample.indices,
        groups=inside,
        pairs=pairs,
        empty=sum(int((~found.any(axis=(1, 2))).sum()) for found in maps.values()),
        rows=rows,
        images=sample.images[places],
        files=[sample.files[place] for place in places],
        true=true[places].tolist(),
        columns=[
            Column(
                label,
                answers[run.id][places].tolist(),
                run.predictions.confidence[sample.indices][places].tolist(),
                shares[run.id][places],
            )
            for label, run in shown.items()
        ],
        notes=notes,
    )


def _columns(groups: Sequence[Group]) -> Mapping[str, StoredRun]:
    """The runs of the figure by label: the lowest seed of each group, or the runs of a single group."""
    if len(groups) == 1:
        return {f"seed {run.seed} ({run.id[:4]})": run for run in groups[0].runs[:MOST_GROUPS]}
    return {group.label: group.runs[0] for group in groups}


def agreements(
    groups: Sequence[Group], maps: Mapping[str, Float32], sample: npt.NDArray[np.int64]
) -> tuple[list[GroupMaps], list[PairMaps]]:
    """Agreement within each group and between each two groups. `maps` (N, S, S) are of the test images `sample` by run.

    Each map is of the class that the run predicts.
    """
    members = [[RunMaps(maps[run.id], run.predictions.predicted[sample]) for run in group.runs] for group in groups]
    inside = [
        GroupMaps(group, _over_pairs(list(combinations(runs, 2))) if len(runs) > 1 else None)
        for group, runs in zip(groups, members, strict=True)
    ]
    between = {
        (i, j): _over_pairs(list(product(members[i], members[j]))) for i, j in combinations(range(len(groups)), 2)
    }
    tested = corrected(
        {
            (i, j): _over_seeds(found, inside[i], inside[j])
            for (i, j), found in between.items()
            if inside[i].within or inside[j].within
        }
    )
    pairs = [PairMaps(inside[i], inside[j], found, tested.get((i, j))) for (i, j), found in between.items()]
    return inside, pairs


def mean_agreement(maps: Sequence[Float32]) -> Values:
    """Rank correlation of each image (N,), as the mean over all pairs of two or more runs with maps (N, S, S)."""
    ranks = [unit_ranks(on_grid(found)) for found in maps]
    return np.asarray(np.mean([rank_correlation(a, b) for a, b in combinations(ranks, 2)], axis=0))


def _over_pairs(pairs: Sequence[tuple[RunMaps, RunMaps]]) -> Agreements:
    order = derangement(len(pairs[0][0].ranks))
    found = [a.agreement(b) for a, b in pairs]  # by pair of runs, measure
    by_chance = [a.agreement(b, order) for a, b in pairs]
    alike = np.stack([a.answers == b.answers for a, b in pairs])  # (pairs, N)
    result = {}
    for measure in found[0]:
        values = np.stack([of_pair[measure] for of_pair in found])  # (pairs, N)
        mean = mean_interval(values.mean(axis=0))
        result[measure] = Agreement(
            mean.mean,
            mean.low,
            mean.high,
            chance=float(np.mean([of_pair[measure] for of_pair in by_chance])),
            same_answer=float(values[alike].mean()) if alike.any() else None,
            per_pair=values.mean(axis=1),
        )
    return result


def _over_seeds(between: Agreements, first: GroupMaps, second: GroupMaps) -> Permutation:
    """The permutation test of the rank correlation. At least one group has two runs."""
    one, two = len(first.group.runs), len(second.group.runs)
    matrix = np.zeros((one + two, one + two))
    matrix[:one, one:] = between["spearman"].per_pair.reshape(one, two)
    for found, start in ((first, 0), (second, one)):
        if found.within is not None:
            i, j = np.triu_indices(len(found.group.runs), 1)  # in the order of `combinations`
            matrix[start + i, start + j] = found.within["spearman"].per_pair
    return permutation(matrix + matrix.T, one)
