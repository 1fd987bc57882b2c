"""The measure of what a pipeline costs beside its work: against no more than what its stages need."""

import ast
from itertools import accumulate
from pathlib import Path

import pytest

from benchmarks import overhead
from benchmarks.workspace import python
from src import artifacts
from src.errors import UserError
from tests.conftest import REPOSITORY
from tests.unit.test_dvc_graph import STAGES

LATER = {"gradcam": {"pytorch_grad_cam"}}  # imported within a function that the stage always calls


def loaded(stage: str) -> set[str]:
    """Every module that the files of this repository import, outside functions, when `stage` starts."""
    found: set[str] = set()
    done: set[Path] = set()
    waiting = [REPOSITORY / "stages" / name for name in (f"{stage}.py", "__init__.py")]
    while waiting:
        file = waiting.pop()
        if file in done or not file.is_file():
            continue
        done.add(file)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:  # `from a.b import c` is a, a.b and a.b.c
                names = list(accumulate(f"{start}{alias.name}".split("."), "{}.{}".format))
                found.update(names)
                places = [REPOSITORY / name.replace(".", "/") for name in names]
                waiting += [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_compared_with_imports_of_its_own(stage: str) -> None:
    assert set(overhead.LIBRARIES[stage]) - loaded(stage) == LATER.get(stage, set())


def test_the_walk_leaves_out_what_is_imported_within_functions() -> None:
    assert {"torch", "mlflow.entities", "psutil"} <= loaded("train")
    assert not {"albumentations", "matplotlib"} & loaded("train")


def test_work_is_what_the_stages_say(tmp_path: Path) -> None:
    contents = {
        "lr_range": {"seconds": 1.5},
        "train": {"seconds": 20.0},
        "evaluate": {"images": 300, "images_per_second": 200.0},
        "gradcam": {"shown": 10, "images_per_second": 40.0, "measure_seconds": 5.0},
    }
    for name, content in contents.items():
        artifacts.write_json(tmp_path / f"{name}.json", content)
    assert overhead.seconds_of_work(tmp_path) == 1.5 + 20 + 1.5 + 0.25 + 5
    no_mistake = {"shown": 0, "images_per_second": 0.0, "measure_seconds": 0.0}
    artifacts.write_json(tmp_path / "gradcam.json", no_mistake)
    assert overhead.seconds_of_work(tmp_path) == 1.5 + 20 + 1.5


def test_the_empty_pipeline_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    empty = overhead.empty_pipeline(tmp_path / "empty")
    made = (empty / "made").stat().st_mtime_ns
    assert python(empty, *overhead.DVC_REPRO) > 0
    assert (empty / "made").stat().st_mtime_ns == made
    (empty / "dvc.yaml").write_text("stages: []\n")
    with pytest.raises(UserError, match=r"python -m dvc repro failed: .*dvc\.yaml"):
        python(empty, *overhead.DVC_REPRO)
