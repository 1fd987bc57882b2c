"""All that a comparison found, for the terminal, the page and the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from src.comparison.classes import Recall, class_recalls
from src.comparison.groups import Group
from src.comparison.maps import Maps
from src.comparison.pairs import Pair
from src.comparison.worth import Worth, worth


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that is shown."""

    by: Sequence[str]  # parameters
    groups: Sequence[Group]
    pairs: Sequence[Pair]
    levels: Sequence[float]  # validation accuracies that are timed
    notes: Sequence[str]  # what a reader must know: runs left out, what else differs
    maps: Maps | None = None  # None where none were made: `notes` says why

    @cached_property
    def classes(self) -> dict[str, dict[str, Recall]]:
        """See `class_recalls`; the figure, the numbers and the page show them."""
        return class_recalls(self.groups)

    @cached_property
    def worth(self) -> Worth:
        """See src.comparison.worth; the numbers, the text and the page show it."""
        return worth(self.groups)
