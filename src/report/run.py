"""What the report page is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """Everything that the page shows; the mappings hold what the stages wrote into the files of the same name."""

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
    figures: Mapping[str, bytes]  # PNG by name, e.g. `evaluate/reliability`
    params: Mapping[str, Any]  # by dotted key
    changed: Mapping[str, Any]  # the keys whose value is not the committed one -> the committed value
    network_options: str  # how the network is not the plain one: ', standardised weights' or ''
    reference: str  # what the result to compare with is called, '' where there is none; the rest is in `params`
    recipe_changes: Mapping[str, tuple[Any, Any]] | None  # (recipe's value, ours); None: its file is not known
    data_name: str
    name: str  # of the experiment
    command: str  # that runs it again
    commit: str  # '' where there is no git
    versions: str
    date: str
