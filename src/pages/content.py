"""The content of the report and the model card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """Everything that the page shows. The mappings hold what the stages wrote into the files of the same name."""

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    lr_range: Mapping[str, Any]
    train: Mapping[str, Any]
    test: Mapping[str, Any]
    gradcam: Mapping[str, Any]
    history: Sequence[Row]
    per_class: Sequence[Row]
    misclassified: Sequence[Row]
    model_summary: str
    figures: Mapping[str, bytes]  # PNG by name, such as `evaluate/reliability`
    params: Mapping[str, Any]  # by dotted key
    changed: Mapping[str, Any]  # key -> committed value, for values that differ from the commit
    network_options: str  # options of the network that are on, such as ', standardised weights', or ''
    reference: str  # label of the result to compare with, or ''; its accuracy and note are in `params`
    recipe_changes: Mapping[str, tuple[Any, Any]] | None  # (recipe's value, ours); None if the recipe has no file
    data_name: str
    name: str  # of the experiment
    command: str  # repeats the run
    commit: str  # '' without git
    versions: str
    date: str
