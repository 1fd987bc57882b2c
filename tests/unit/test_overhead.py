"""The measure of what a pipeline costs beside its work: against no more than what its stages need."""

import ast
from pathlib import Path

import pytest

from benchmarks import overhead
from src import artifacts
from src.errors import UserError
from tests.conftest import REPOSITORY
from tests.unit.test_dvc_graph import STAGES, imported

LATER = {"gradcam": {"pytorch_grad_cam"}}  # imported within a function that the stage always calls


def at_the_top(file: str) -> list[ast.stmt]:
    """The imports of `file` that run whenever it is imported."""
    body = ast.parse((REPOSITORY / file).read_text()).body
    return [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]


def modules(nodes: list[ast.stmt]) -> set[str]:
    """What the statements name: `from a.b import c` is a, a.b and a.b.c."""
    found: set[str] = set()
    for node in nodes:
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[: end + 1]) for end in range(len(parts))}
    return found


def loaded(stage: str) -> set[str]:
    """Every module that the files of this repository import before `stage` begins, and those that it loads later."""
    found: set[str] = set()
    done: set[str] = set()
    waiting = [f"stages/{stage}.py", "stages/__init__.py"]
    while waiting:
        file = waiting.pop()
        if file not in done:
            done.add(file)
            names = modules(at_the_top(file))
            found |= names
            own = {f"{name.replace('.', '/')}{end}" for name in names for end in (".py", "/__init__.py")}
            waiting.extend(other for other in imported(file) if other in own)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_compared_with_imports_of_its_own(stage: str) -> None:
    libraries = set(overhead.LIBRARIES[stage])
    assert libraries - loaded(stage) == LATER.get(stage, set())


def test_every_stage_is_compared() -> None:
    assert list(overhead.LIBRARIES) == list(STAGES)


def test_the_walk_leaves_out_what_is_imported_within_functions() -> None:
    assert {"torch", "mlflow.entities", "psutil"} <= loaded("train")
    assert "albumentations" in loaded("check")
    assert not {"albumentations", "matplotlib"} & loaded("train")
    assert "torch" not in loaded("report")


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
    artifacts.write_json(
        tmp_path / "gradcam.json", {"shown": 0, "images_per_second": 0.0, "measure_seconds": 0.0}
    )  # no mistake
    assert overhead.seconds_of_work(tmp_path) == 1.5 + 20 + 1.5


def test_the_empty_pipeline_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    empty = overhead.empty_pipeline(tmp_path / "empty")
    made = (empty / "made").stat().st_mtime_ns
    assert overhead.repro(empty) > 0
    assert (empty / "made").stat().st_mtime_ns == made
    (empty / "dvc.yaml").write_text("stages: []\n")
    with pytest.raises(UserError, match=r"python -m dvc failed: .*dvc\.yaml"):
        overhead.repro(empty)


def test_bare_imports_run_in_a_process_of_their_own() -> None:
    assert overhead.bare_import(["json", "xml.dom"]) > 0
