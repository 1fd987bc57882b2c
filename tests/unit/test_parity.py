"""What docs/results/source-projects.md names exists: files that stages write, code and parameters."""

import ast
import re
from pathlib import PurePosixPath

import pytest

from tests.conftest import REPOSITORY
from tests.unit.test_dvc_graph import LEAVES, STAGES, outs, reached

LINES = (REPOSITORY / "docs/results/source-projects.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")]
FEATURES = [row for row in ROWS if row[0] != "feature"]
PROJECTS = {"000", "001", "002", "003", "004"}
NAMED = sorted({name for row in FEATURES for name in re.findall(r"`([^`]+)`", row[-1])})


def writer(path: PurePosixPath) -> str:
    """The stage that declares `path`, or a folder of it, among its outs; '' where none does."""
    return next((stage for stage in STAGES for out in outs(stage) if path == out or out in path.parents), "")


def written_by(stage: str) -> set[str]:
    """The texts in the code of `stage` and its figures that may be names of files; what is filled in becomes `*`."""
    files = [f"stages/{stage}.py", *(file for file in reached(stage) if file.startswith("src/figures/"))]
    nodes = [node for file in files for node in ast.walk(ast.parse((REPOSITORY / file).read_text()))]
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    filled = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    return texts | {"".join(str(v.value) if isinstance(v, ast.Constant) else "*" for v in values) for values in filled}


def test_every_feature_of_a_source_project_has_a_place_here() -> None:
    theirs, ours = [row for row in FEATURES if len(row) == 3], [row for row in FEATURES if len(row) == 2]
    assert len(theirs) + len(ours) == len(FEATURES)
    assert len(theirs) > 20
    assert all("`" in row[-1] for row in FEATURES)
    for feature, shown_by, _ in theirs:
        assert shown_by == "all" or set(shown_by.split(", ")) <= PROJECTS, feature


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_exists(name: str) -> None:
    path = PurePosixPath(name)
    if name in LEAVES:
        return
    if path.suffix == ".py":
        assert (REPOSITORY / path).is_file()
        return
    stage = writer(path)
    assert stage, f"no stage in dvc.yaml writes {name}"
    if path in outs(stage):
        return  # DVC itself fails where a stage does not write it
    stem = path.stem.replace("LAYER", "*")
    assert written_by(stage) & {f"{stem}.png", stem}, f"the code of stage {stage} does not mention {path.name}"


def test_a_stale_name_is_found() -> None:
    assert writer(PurePosixPath("figures/gradcams/predicted.png")) == ""
    assert "predicted" in written_by("gradcam")
    assert "predicted_class" not in written_by("gradcam")
    assert "predicted-*" in written_by("gradcam")
    assert "src/training/progress.py" in reached("train")  # the bar
