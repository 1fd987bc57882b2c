"""The study of docs/study-norms.md: the lines that a person types, and the page that is made of the result."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import RESULTS
from benchmarks.study import SAID, trained
from benchmarks.study_page import DOCUMENT, NONE, fill, section
from benchmarks.study_plan import NORMS, SEEDS, SHAPES, Study
from src import artifacts
from src.errors import UserError
from tests.conftest import REPOSITORY


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def test_the_page_is_that_of_the_results() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == fill(document, RESULTS)
    assert set(re.findall("<!-- results: (.*) -->", document)) == {"lines", *NONE}
    for image in re.findall(r"\]\((images/[^)]+)\)", document):
        assert (DOCUMENT.parent / image).is_file()


def test_the_result_is_that_of_the_lines_and_took_half_an_hour_at_most() -> None:
    result = artifacts.read_json(RESULTS / "study-shapes.json")
    assert result["lines"] == SHAPES.lines()
    assert result["experiments"] == SHAPES.count
    assert result["minutes"] <= 30


def test_the_lines_queue_every_norm_with_every_seed() -> None:
    queue, start, images, compare = SHAPES.lines()
    words = shlex.split(queue)
    assert words[:4] == ["dvc", "exp", "run", "--queue"]
    assert {"norm=batch,layer,layer2d,group", "seed=0,1,2", "recipe=study-norms", "data.source=shapes"} <= set(words)
    assert SHAPES.count == len(NORMS) * len(SEEDS) == 12
    assert start == "OMP_NUM_THREADS=1 dvc queue start -j 2"
    assert images == "python -m recipes study-norms prepare"
    assert shlex.split(compare)[-1] == "params.recipe = 'study-norms'"


def test_settings_are_in_every_line_that_makes_data() -> None:
    queue, _, images, _ = Study("x", "standard", {"data.path": "my images"}, jobs=3, threads=None).lines()
    assert "'data.path='\"'\"'my images'\"'\"''" in queue
    assert "my images" in images


def a_result(**changes: Any) -> dict[str, Any]:
    mean = {"n": 3, "mean": 0.5, "half_width": 0.25}
    one = {
        "label": "batch", "seeds": [0, 1, 2], "accuracy": mean, "loss": mean, "ece": mean | {"half_width": None},
        "images_per_second": None, "epochs_to": {"0.9": [2, None, 3]}, "agreement": None,
    }  # fmt: skip
    pair = {"sentence": "layer is worse", "class_sentence": "nothing differs"}
    comparison = {"groups": [one], "pairs": [pair], "notes": ["a note"], "maps": None, "worth": {}} | changes
    machine = {"hardware": "a machine", "python": "3", "torch": "2", "mlflow": "3", "dvc": "3"}
    return {
        "comparison": comparison, "machine": machine, "data": "some images", "command": "python x",
        "date": "2026-01-02", "commit": "abc", "compared_by": "abd", "experiments": 12, "minutes": 5.25,
    }  # fmt: skip


def test_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "curves.png").write_bytes(b"")
    maps = {"method": "GradCAM", "layer": "layer4", "images": 20, "pairs": [{"sentence": "they look elsewhere"}]}
    worth = {"batch": {"road": {"n": 3, "mean": 0.125, "half_width": 0.5}}}
    text = section("study", a_result(maps=maps, worth=worth), tmp_path)
    for words in (
        "- layer is worse", "| `batch` | 0, 1, 2 | 50.00 ± 25.00 % | 0.500 ± 0.250 | 50.00 % | – | 2, –, 3 | – |",
        "![Validation accuracy and loss by epoch](images/study/curves.png)", "- they look elsewhere",
        "| maps of | ROAD, gain ↑ |", "| `batch` | +0.125 ± 0.500 |", "ROAD depends on how sure", "Note: a note.",
        "12 experiments on some images in 5.2 minutes", "commit abc, compared by the code of abd.",
    ):  # fmt: skip
        assert words in text
    assert "differences.png" not in text


def test_a_folder_with_another_study_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = SHAPES.lines()
    monkeypatch.setattr(Study, "lines", lambda _: lines)
    monkeypatch.chdir(tmp_path)
    artifacts.write_json(SAID, {"lines": ["dvc repro"], "minutes": 1.0})
    with pytest.raises(UserError, match="another study"):
        trained(SHAPES, {})


def test_a_study_that_was_not_run_says_so(tmp_path: Path) -> None:
    text = fill("<!-- results: study-images -->\n<!-- end of results -->", tmp_path)
    assert NONE["study-images"] in text
    artifacts.write_json(tmp_path / "study-images.json", a_result())
    assert "- layer is worse" in fill(text, tmp_path)
