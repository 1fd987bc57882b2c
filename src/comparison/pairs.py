"""Two groups of runs beside each other: tests, and what they say in plain words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

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
    seeds_needed,
    welch,
)
from src.comparison.words import p_value

ALPHA = 1 - LEVEL

# What is tested over seeds -> its value in each run of a group.
MEASURES: dict[str, Callable[[Group], Sequence[float]]] = {
    "accuracy": lambda group: group.all_of("test/accuracy"),
    "loss": lambda group: group.all_of("test/loss"),
    "ece": lambda group: group.all_of("test/ece"),
    "images_per_second": Group.speeds,
}


@dataclass(eq=False)
class Pair:
    """`second` minus `first`. What is shown together, in a column or a table, is corrected for its number by Holm.

    All is empty where the groups saw other data: then nothing is compared.
    """

    first: Group
    second: Group
    mcnemar: McNemar | None = None  # of the majority votes of the groups' runs
    p_mcnemar: float | None = None
    over_seeds: dict[str, Corrected] = field(
        default_factory=dict
    )  # by the name in MEASURES; speeds of one hardware alone
    classes: dict[str, Corrected] = field(default_factory=dict)  # recall

    @property
    def welch(self) -> Corrected | None:
        """Of the accuracy."""
        return self.over_seeds.get("accuracy")

    @property
    def sentence(self) -> str:
        """What the tests of the accuracy say."""
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
        if self.welch.low is None or self.welch.high is None:
            if difference == 0:
                return f"{two} and {one} have the same accuracy; {count}, among which nothing varies"
            return f"{two} is {size} {relation}; {count}, among which nothing varies, so nothing can be tested"
        if self.welch.real:
            half = 100 * (self.welch.high - self.welch.low) / 2
            return f"{two} is {size} ± {half:.1f} {relation}; {count}; the difference is real at 95 %"
        needed = seeds_needed(self.first.all_of("test/accuracy"), self.second.all_of("test/accuracy"))
        more = ""
        if needed is not None and needed > min(len(self.first.runs), len(self.second.runs)):
            more = f"; more than {MOST_SEEDS:,}" if needed > MOST_SEEDS else f"; about {needed}"
            more += " would be needed"
        return f"{two} and {one} cannot be told apart with {count}{more}"

    @property
    def class_sentence(self) -> str:
        """Where their recalls differ most; '' where nothing is compared."""
        if not self.classes:
            return ""
        return f"recall of {self.second.label} less that of {self.first.label}: {class_sentence(self.classes)}"


def compare(groups: Sequence[Group]) -> list[Pair]:
    """Every pair of groups, with p-values corrected for their number: each measure apart, all classes together."""
    pairs = [Pair(first, second) for first, second in combinations(groups, 2)]
    compared = [pair for pair in pairs if same_images([*pair.first.runs, *pair.second.runs])]
    for name, values in MEASURES.items():
        found = {i: one for i, pair in enumerate(compared) if (one := _over_seeds(pair, name, values)) is not None}
        for i, tested in zip(found, corrected(list(found.values())), strict=True):
            compared[i].over_seeds[name] = tested
    for pair in compared:
        true = pair.first.runs[0].predictions.true
        pair.mcnemar = mcnemar(vote(pair.first.runs) == true, vote(pair.second.runs) == true)
    for pair, p in zip(compared, holm([pair.mcnemar.p for pair in compared if pair.mcnemar]), strict=True):
        pair.p_mcnemar = p
    cells = [(pair, name) for pair in compared for name in class_names(pair.first.runs[0])]
    differences = [class_difference(pair.first, pair.second, name) for pair, name in cells]
    for (pair, name), tested in zip(cells, corrected(differences), strict=True):
        pair.classes[name] = tested
    return pairs


def _over_seeds(pair: Pair, name: str, values: Callable[[Group], Sequence[float]]) -> Difference | None:
    """None where a group has no value, and of speeds on different hardware."""
    if name == "images_per_second" and not same_hardware([*pair.first.runs, *pair.second.runs]):
        return None
    first, second = values(pair.first), values(pair.second)
    return welch(first, second) if first and second else None


def seed_count(first: Group, second: Group) -> str:
    """How many runs the groups have, in words."""
    one, two = len(first.runs), len(second.runs)
    if one == two:
        return "1 seed" if one == 1 else f"{one} seeds"
    return f"{two} and {one} seeds"
