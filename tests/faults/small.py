"""The real stages, one after the other in this process, on a few images; MLflow is left out."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from src import artifacts
from src.params import Params, parse_params
from src.yaml_files import flatten, nest, read_yaml
from stages import check, download, evaluate, gradcam, lr_range, prepare, report, train
from tests.conftest import PARAMS_YAML

STAGES: dict[str, ModuleType] = {
    "check": check, "download": download, "prepare": prepare, "lr_range": lr_range, "train": train,
    "evaluate": evaluate, "gradcam": gradcam, "report": report,
}  # fmt: skip
COMMITTED = flatten(read_yaml(PARAMS_YAML))
SMALL: dict[str, Any] = {
    "device": "cpu",
    "precision": "fp32",
    "lr": 0.01,
    "data.source": "shapes",
    "data.size": 16,
    "data.shapes.train": 40,
    "data.shapes.test": 10,
    "model.width": 4,
    "lr_range.iterations": 10,
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.workers": 0,
    "gradcam.count": 3,
    "gradcam.layers": ["layer4"],
    "gradcam.measure.images": 2,
    "gradcam.measure.methods": ["GradCAM"],
}


class NoMirror:
    """In the place of `tracking.Mirror`."""

    def __init__(self, *arguments: object, **options: object) -> None: ...
    def __enter__(self) -> "NoMirror":
        return self

    def __exit__(self, *error: object) -> None: ...
    def epoch(self, row: object) -> None: ...
    def upload(self, *stages: str) -> None: ...


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `folder` the workspace of the stages that this process runs."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    for stage in (train, evaluate, gradcam, report):
        monkeypatch.setattr(stage, "Mirror", NoMirror)
    shutil.copy(PARAMS_YAML, artifacts.PARAMS)
    Path("own").mkdir(exist_ok=True)


def small(**changes: Any) -> Params:
    """The committed parameters made small, with changes by dotted key: `small(**{"train.epochs": 2})`."""
    return parse_params(nest(COMMITTED | SMALL | changes))


def run(params: Params, *stages: str) -> None:
    """Run `stages`, all of them where none is named."""
    for stage in stages or STAGES:
        STAGES[stage].main(params)
