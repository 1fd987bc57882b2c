"""All results of a comparison, for the terminal, the page and the JSON file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from src.comparison.classes import class_recalls
from src.comparison.groups import Group
from src.comparison.maps import Maps
from src.comparison.pairs import Pair
from src.comparison.quality import Worth, worth
from src.statistics import Interval


@dataclass(frozen=True, eq=False)
class Comparison:
    """All results of a comparison."""

    by: Sequence[str]  # parameters
    groups: Sequence[Group]
    pairs: Sequence[Pair]
    levels: Sequence[float]  # validation accuracies for which epochs are counted
    notes: Sequence[str]  # for the reader: runs that were left out, other differences between the runs
    maps: Maps | None = None  # None if no maps were made; `notes` has the reason

    @cached_property
    def classes(self) -> dict[str, dict[str, Interval]]:
        """See `class_recalls`."""
        return class_recalls(self.groups)

    @cached_property
    def worth(self) -> Worth:
        """See src.comparison.quality."""
        return worth(self.groups)
