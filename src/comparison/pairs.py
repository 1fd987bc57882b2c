"""Test the difference between two groups of runs, and describe the result in words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from src.comparison.classes import class_difference, class_names, class_sentence
from src.comparison.groups import Group, same_hardware, same_images, vote
from src.statistics import (
    ALPHA,
    MOST_SEEDS,
    Difference,
    McNemar,
    corrected,
    mcnemar,
    paired,
    seeds_needed,
    welch,
)

# Measure that is tested over seeds -> its value for each run of a group.
OVER_SEEDS: dict[str, Callable[[Group], Sequence[float]]] = {
    "accuracy": lambda group: group.all_of("test/accuracy"),
    "loss": lambda group: group.all_of("test/loss"),
    "ece": lambda group: group.all_of("test/ece"),
    "images_per_second": Group.speeds,
}


@dataclass(frozen=True, eq=False)
class GroupPair:
    """`second` minus `first`. Results that are shown together, in a column or a table, have Holm's correction.

    Everything is empty if the groups have different data, because then nothing is compared.
    """

    first: Group
    second: Group
    votes: int = 0  # runs per group in the majority vote, those with the lowest seeds
    mcnemar: McNemar | None = None  # of the majority votes
    over_images: Difference | None = None  # of the accuracies of the majority votes
    over_seeds: Mapping[str, Difference] = field(default_factory=dict)  # by name in OVER_SEEDS, see `_over_seeds`
    classes: Mapping[str, Difference] = field(default_factory=dict)  # recall
    together: int = 1  # number of pairs in the correction of the accuracies

    @property
    def label(self) -> str:
        return f"{self.second.label} − {self.first.label}"

    @property
    def welch(self) -> Difference | None:
        """Welch's test of the accuracy."""
        return self.over_seeds.get("accuracy")

    @property
    def sentence(self) -> str:
        """The result of the tests of the accuracy."""
        one, two = self.first.label, self.second.label
        if self.welch is None or self.over_images is None or self.mcnemar is None:
            return f"{two} and {one} are not compared, because their runs have different data or test images"
        count = _seed_count(self.first, self.second)
        alone = min(len(self.first.runs), len(self.second.runs)) < 2
        # With a single run in one group, both numbers come from the two runs that McNemar's test compares.
        difference = self.over_images.mean if alone else self.welch.mean
        size = f"{100 * abs(difference):.1f}"
        relation = f"points {'below' if difference < 0 else 'above'} {one} in test accuracy"
        if alone:
            beginning = f"{two} is {size} {relation}" if difference else f"{two} and {one} have the same test accuracy"
            runs = count if count == "1 seed" else f"the lowest seed of each group ({count} available)"
            verdict = "is significant" if self.mcnemar.significant else "is not significant"
            return (
                f"{beginning} with {runs}. For these two models the difference {verdict} (McNemar's test), but the "
                "effect of another seed is unknown. Run at least 2 seeds of each"
            )
        if self.welch.half_width is None:
            if difference == 0:
                return f"{two} and {one} have the same test accuracy with {count}, and it does not vary between seeds"
            return (
                f"{two} is {size} {relation} with {count}. The difference cannot be tested, because the accuracy does "
                "not vary between seeds"
            )
        if self.welch.significant:
            half_width = 100 * self.welch.half_width
            return f"{two} is {size} ± {half_width:.1f} {relation} with {count}. The difference is significant"
        if self.welch.p is not None and self.welch.p < ALPHA:  # the interval in the table excludes 0
            return f"{count} cannot separate {two} from {one} after correction for {self.together} pairs"
        needed = seeds_needed(self.first.all_of("test/accuracy"), self.second.all_of("test/accuracy"))
        more = ""
        if needed is not None and needed > min(len(self.first.runs), len(self.second.runs)):
            more = f". More than {MOST_SEEDS:,}" if needed > MOST_SEEDS else f". About {needed}"
            more += " seeds of each would be needed"
            more += " if only this pair were compared" if self.together > 1 else ""
        return f"{count} cannot separate {two} from {one}{more}"

    @property
    def class_sentence(self) -> str:
        """The difference in recall by class. '' if nothing is compared."""
        if not self.classes:
            return ""
        return f"the recall of {self.second.label} minus that of {self.first.label} {class_sentence(self.classes)}"


def compare_pairs(groups: Sequence[Group]) -> list[GroupPair]:
    """Compare every pair of groups. P-values are corrected over all pairs per measure, and over all classes."""
    pairs = list(combinations(groups, 2))
    compared = [both for both in pairs if same_images([*both[0].runs, *both[1].runs])]
    right = {both: _right(*both) for both in compared}
    votes = corrected({both: mcnemar(*right[both]) for both in compared})
    over_seeds = {
        name: corrected({both: one for both in compared if (one := _over_seeds(*both, name, values)) is not None})
        for name, values in OVER_SEEDS.items()
    }
    names = {both: class_names(both[0].runs[0]) for both in compared}
    classes = corrected({(both, name): class_difference(*both, name) for both in compared for name in names[both]})
    together = sum(one.p is not None for one in over_seeds["accuracy"].values())
    return [
        GroupPair(
            *both,
            votes=min(len(group.runs) for group in both),
            mcnemar=votes[both],
            over_images=paired(*right[both]),
            over_seeds={name: tested[both] for name, tested in over_seeds.items() if both in tested},
            classes={name: classes[both, name] for name in names[both]},
            together=together,
        )
        if both in votes
        else GroupPair(*both)
        for both in pairs
    ]


def _right(first: Group, second: Group) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether the majority vote of each group is right, for each image (N,).

    The same number of runs votes in both groups, those with the lowest seeds, because larger majorities are better.
    """
    votes = min(len(first.runs), len(second.runs))
    one, two = (
        vote(sorted(group.runs, key=lambda run: (run.seed, run.id))[:votes]) == group.runs[0].predictions.true
        for group in (first, second)
    )
    return one, two


def _over_seeds(
    first: Group, second: Group, name: str, values: Callable[[Group], Sequence[float]]
) -> Difference | None:
    """Welch's test of a measure. None if a group has no value, and for speeds on different hardware."""
    if name == "images_per_second" and not same_hardware([*first.runs, *second.runs]):
        return None
    one, two = values(first), values(second)
    return welch(one, two) if one and two else None


def _seed_count(first: Group, second: Group) -> str:
    """The number of runs of both groups, in words."""
    one, two = len(first.runs), len(second.runs)
    if one == two:
        return "1 seed" if one == 1 else f"{one} seeds"
    return f"{two} and {one} seeds"
