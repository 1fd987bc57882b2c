"""The content of the run page and the model card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src import results
from src.params import Params


@dataclass(frozen=True)
class Run:
    """Everything that the page shows about a run."""

    data: results.DataSet
    model: results.Model
    lr_range: results.RangeTest
    train: results.Training
    test: results.Evaluation
    maps: results.Maps
    history: Sequence[results.Epoch]
    per_class: Sequence[results.ClassScores]
    misclassified: Sequence[results.Prediction]
    model_summary: str
    figures: Mapping[str, bytes]  # PNG by name, such as `evaluate/reliability`
    params: Params  # without passwords
    changed: Mapping[str, Any]  # key -> committed value, for values that differ from the commit
    recipe_changes: Mapping[str, tuple[Any, Any]] | None  # (recipe's value, ours); None if the recipe has no file
    data_name: str
    name: str  # of the experiment
    command: str  # repeats the run
    commit: str  # '' without git
    versions: str
    date: str
