"""docs/parity.md says yes for us in every row, and what it names exists: files that stages write, code, parameters."""

import ast
import re
from pathlib import PurePosixPath

import pytest

from tests.conftest import REPOSITORY
from tests.unit.test_dvc_graph import LEAVES, STAGES, outs, reached

LINES = (REPOSITORY / "docs/parity.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")]
FEATURES = [row for row in ROWS if row[-1] != "here"]
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


def test_every_row_says_yes_for_us_and_something_for_every_seed() -> None:
    seeds, ours = [row for row in FEATURES if len(row) == 7], [row for row in FEATURES if len(row) == 2]
    assert len(seeds) + len(ours) == len(FEATURES)
    assert len(seeds) > 30
    assert all(row[-1].startswith("yes: ") and "`" in row[-1] for row in FEATURES)
    for row in seeds:
        assert all(re.match(r"(yes|no|as right ones|\?)", cell) for cell in row[1:6]), row
        assert any(cell.startswith("yes") for cell in row[1:6]), f"no seed shows this: {row[0]}"
        assert "?" not in row[1:5]  # their code is known


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
