"""Two groups of runs beside each other: tests, and what they say in plain words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from src.comparison.classes import class_difference, class_names, class_sentence
from src.comparison.groups import Group, same_hardware, same_images, vote
from src.comparison.statistics import (
    LEVEL,
    MOST_SEEDS,
    Corrected,
    Difference,
    McNemar,
    corrected,
    holm,
    mcnemar,
    paired,
    seeds_needed,
    welch,
)

ALPHA = 1 - LEVEL

# What is tested over seeds -> its value in each run of a group.
MEASURES: dict[str, Callable[[Group], Sequence[float]]] = {
    "accuracy": lambda group: group.all_of("test/accuracy"),
    "loss": lambda group: group.all_of("test/loss"),
    "ece": lambda group: group.all_of("test/ece"),
    "images_per_second": Group.speeds,
}


@dataclass(frozen=True, eq=False)
class Pair:
    """`second` minus `first`. What is shown together, in a column or a table, is corrected for its number by Holm.

    All is empty where the groups saw other data: then nothing is compared.
    """

    first: Group
    second: Group
    votes: int = 0  # runs of each group whose majority answers the images: those with the lowest seeds
    mcnemar: McNemar | None = None  # of these majorities
    p_mcnemar: float | None = None
    over_images: Difference | None = None  # of the shares that they have right
    over_seeds: Mapping[str, Corrected] = field(
        default_factory=dict
    )  # by name in MEASURES; speeds of one hardware alone
    classes: Mapping[str, Corrected] = field(default_factory=dict)  # recall
    together: int = 1  # pairs whose accuracies are corrected together

    @property
    def welch(self) -> Corrected | None:
        """Of the accuracy."""
        return self.over_seeds.get("accuracy")

    @property
    def sentence(self) -> str:
        """What the tests of the accuracy say."""
        one, two = self.first.label, self.second.label
        if self.welch is None or self.over_images is None or self.p_mcnemar is None:
            return f"{two} and {one} are not compared: their runs saw different data or test images"
        count = seed_count(self.first, self.second)
        alone = min(len(self.first.runs), len(self.second.runs)) < 2
        # A single run is not set against the mean of several: both numbers are of the same two runs.
        difference = self.over_images.difference if alone else self.welch.difference
        size = f"{100 * abs(difference):.1f}"
        relation = f"points {'below' if difference < 0 else 'above'} {one}"
        if alone:
            beginning = f"{two} is {size} {relation}" if difference else f"{two} and {one} have the same accuracy"
            runs = count if count == "1 seed" else f"the lowest seed of each ({count} are there)"
            verdict = "is more than chance" if self.p_mcnemar < ALPHA else "may be chance"
            return (
                f"{beginning} with {runs}; for these test images the difference {verdict}, but what another seed "
                "would change is not known: run at least 2 seeds of each"
            )
        if self.welch.low is None or self.welch.high is None:
            if difference == 0:
                return f"{two} and {one} have the same accuracy with {count}, among which nothing varies"
            return f"{two} is {size} {relation} with {count}, among which nothing varies, so nothing can be tested"
        if self.welch.real:
            half = 100 * (self.welch.high - self.welch.low) / 2
            return f"{two} is {size} ± {half:.1f} {relation} with {count}; the difference is significant"
        if self.welch.p is not None and self.welch.p < ALPHA:  # the interval beside it leaves 0 out
            return f"{count} cannot separate {two} from {one} after correction for {self.together} pairs"
        needed = seeds_needed(self.first.all_of("test/accuracy"), self.second.all_of("test/accuracy"))
        more = ""
        if needed is not None and needed > min(len(self.first.runs), len(self.second.runs)):
            more = f"; more than {MOST_SEEDS:,}" if needed > MOST_SEEDS else f"; about {needed}"
            more += " seeds of each would be needed"
            more += " for this pair alone" if self.together > 1 else ""
        return f"{count} cannot separate {two} from {one}{more}"

    @property
    def class_sentence(self) -> str:
        """Where their recalls differ most; '' where nothing is compared."""
        if not self.classes:
            return ""
        return f"recall, {self.second.label} minus {self.first.label}: {class_sentence(self.classes)}"


def compare(groups: Sequence[Group]) -> list[Pair]:
    """Every pair of groups, with p-values corrected for their number: each measure apart, all classes together."""
    pairs = list(combinations(groups, 2))
    compared = [(first, second) for first, second in pairs if same_images([*first.runs, *second.runs])]
    over_seeds: list[dict[str, Corrected]] = [{} for _ in compared]
    for name, values in MEASURES.items():
        found = {i: one for i, both in enumerate(compared) if (one := _over_seeds(*both, name, values)) is not None}
        for i, tested in zip(found, corrected(list(found.values())), strict=True):
            over_seeds[i][name] = tested
    together = sum(tested["accuracy"].p is not None for tested in over_seeds)
    classes: list[dict[str, Corrected]] = [{} for _ in compared]
    cells = [(i, name) for i, (first, _) in enumerate(compared) for name in class_names(first.runs[0])]
    differences = [class_difference(*compared[i], name) for i, name in cells]
    for (i, name), tested in zip(cells, corrected(differences), strict=True):
        classes[i][name] = tested
    answers = [_right(*both) for both in compared]
    tests = [mcnemar(*right) for right in answers]
    p_holm = holm([test.p for test in tests])
    done = {
        both: Pair(
            *both,
            votes=min(len(group.runs) for group in both),
            mcnemar=tests[i],
            p_mcnemar=p_holm[i],
            over_images=paired(*answers[i]),
            over_seeds=over_seeds[i],
            classes=classes[i],
            together=together,
        )
        for i, both in enumerate(compared)
    }
    return [done.get(both) or Pair(*both) for both in pairs]


def _right(first: Group, second: Group) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which images (N,) the majority of each group has right.

    As many runs of either group vote, those with the lowest seeds: a majority of more is better by construction.
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
    """None where a group has no value, and of speeds on different hardware."""
    if name == "images_per_second" and not same_hardware([*first.runs, *second.runs]):
        return None
    one, two = values(first), values(second)
    return welch(one, two) if one and two else None


def seed_count(first: Group, second: Group) -> str:
    """How many runs the groups have, in words."""
    one, two = len(first.runs), len(second.runs)
    if one == two:
        return "1 seed" if one == 1 else f"{one} seeds"
    return f"{two} and {one} seeds"
