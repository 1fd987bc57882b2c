"""The stages `download` and `prepare` from parameters to files, and their figures."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src import artifacts
from src.data import prepared
from src.data.prepared import Split
from src.data.raw import RawData
from src.data_summary import class_table, group_left_out
from src.figures.prepare import SHOWN_CLASSES, augmented_grid, class_counts
from src.params import Params, load_params
from src.results import ClassCounts
from stages import download, prepare
from tests.conftest import PARAMS_YAML
from tests.unit.data_helpers import parameters, tree, write_folder


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, **data: object) -> Params:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    params = load_params(PARAMS_YAML).model_copy(update={"data": parameters(**data)})
    download.main(params)
    prepare.main(params)
    return params


def test_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, tmp_path, source="shapes", shapes={"seed": 0, "train": 40, "test": 20})
    ready = prepared.load()
    said = artifacts.read_json(Path("metrics/data.json"))
    assert said.pop("counts") == [{"class": name, "train": 3, "val": 1, "test": 2} for name in ready.classes]
    assert said == {
        "source": "shapes",
        "digest": ready.digest,
        "classes": 10,
        "size": 16,
        "share": 1.0,
        "train": 30,
        "val": 10,
        "test": 20,
        "unreadable": 0,
        "layout": "",
        "left_out": [],
        "notes": [],
        "duplicates": {"train_test": 0, "train_val": 0, "val_test": 0, "two_labels": 0, "examples": []},
    }
    assert "60 images of 10 classes, 16 x 16: 30 train, 10 val, 20 test\n" in capsys.readouterr().out
    assert prepared.load_files("test") == []
    for name in ("augmented", "class_counts"):
        with Image.open(f"figures/prepare/{name}.png") as image:
            assert min(image.size) > 200


def test_a_share_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, tmp_path, source="shapes", shapes={"seed": 0, "train": 80, "test": 20}, share=0.5)
    said = artifacts.read_json(Path("metrics/data.json"))
    assert [said[key] for key in ("share", "train", "val", "test")] == [0.5, 30, 10, 10]
    assert "share of 0.5 (data.share)" in capsys.readouterr().out


def test_smallest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = tree(*(f"{label}/{number}.png" for label in ("$a$", "é") for number in range(3)))
    write_folder(tmp_path / "mine", files | {"é/broken.jpg": b"?"})
    run(monkeypatch, tmp_path, source="folder", path="mine", max_unreadable=0.2)
    ready = prepared.load()
    assert [len(getattr(ready, name)) for name in prepared.SPLITS] == [2, 2, 2]
    names = {split: prepared.load_files(split) for split in prepared.SPLITS}
    assert sorted(name for split in names.values() for name in split) == sorted(files)
    assert [ready.classes[label] for label in ready.test.labels] == [name.split("/")[0] for name in names["test"]]
    output = capsys.readouterr()
    assert "layout: CLASS/*\n" in output.out
    assert re.search(r"^  é +1 +1 +1$", output.out, re.MULTILINE)
    assert re.search(r"^left out .unreadable: .*: é/broken\.jpg$", output.err, re.MULTILINE)


def test_what_was_found_is_printed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Classes that a split lacks or that have few images, what was left out and why, and copies."""
    files = tree(
        *(f"train/{label}/{number}.png" for label, count in (("a", 22), ("b", 4)) for number in range(count)),
        *(f"{folder}/{number}.png" for folder in ("test/a", "more", "rest") for number in range(5)),
    )
    files |= {"test/a/copy.png": files["train/b/0.png"], "more/b/\u202f.png": b""}
    write_folder(tmp_path / "mine", files)
    run(monkeypatch, tmp_path, source="folder", path="mine", val_share=0.0)
    said = artifacts.read_json(Path("metrics/data.json"))
    assert said["counts"] == [
        {"class": "a", "train": 22, "val": 0, "test": 6},
        {"class": "b", "train": 4, "val": 0, "test": 0},
    ]
    few, rare = said["notes"]
    assert "test split has no image of b" in few
    assert "a has 5.5 times as many training images as b" in rare
    assert [(group["files"], group["examples"]) for group in said["left_out"]] == [
        (6, ["more/0.png", "more/1.png", "more/2.png"]),
        (5, ["rest/0.png", "rest/1.png", "rest/2.png"]),
    ]
    assert said["duplicates"] == {
        "train_test": 1, "train_val": 0, "val_test": 0, "two_labels": 2,
        "examples": [[
            {"split": "train", "label": "b", "file": "train/b/0.png"},
            {"split": "test", "label": "a", "file": "test/a/copy.png"},
        ]],
    }  # fmt: skip
    output = capsys.readouterr()
    assert {few, rare} <= {line.removeprefix("note: ") for line in output.out.splitlines()}
    assert re.search(
        r"^left out .*more/.*: more/0\.png, more/1\.png, more/2\.png and 3 more$", output.err, re.MULTILINE
    )
    assert "train train/b/0.png (b), test test/a/copy.png (a)" in output.err


def test_reasons_and_classes_that_are_printed_are_bounded() -> None:
    empty = Split(np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, np.int64))
    left_out = {f"{folder}/{number}": f"in {folder}/" for folder in range(30) for number in range(30 - folder)}
    groups = group_left_out(RawData(empty, None, [], unreadable={"x": "broken"}, left_out=left_out))
    assert [group.files for group in groups] == [*range(30, 21, -1), sum(range(22)) + 1]
    assert "22 other reasons" in groups[-1].reason
    lines = class_table([ClassCounts(name=f"c{label}", train=1, val=2, test=3) for label in range(1000)])
    assert len(lines) < 30
    assert [line.split() for line in (lines[1], lines[-1])] == [["c0", "1", "2", "3"], ["c999", "1", "2", "3"]]


def test_grid_shows_the_images_it_is_given() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    figure = augmented_grid(images, np.stack([images[::-1], images]), ["a", "b", "c"], [1, 2], []).figure
    (sheet,) = figure.axes
    shown = [np.asarray(picture.get_array()) for picture in sheet.images]
    np.testing.assert_array_equal(shown, np.concatenate([images, images[::-1], images]))
    places = np.array([picture.get_extent() for picture in sheet.images]).reshape(3, 3, 4)  # row, column, sides
    assert (np.diff(places[:, :, 0], axis=1) > 0).all()  # columns to the right
    assert (np.diff(places[:, :, 3], axis=0) > 0).all()  # rows downwards
    words = [text.get_text() for text in sheet.texts]
    assert words[1:] == ["original", "epoch 1", "epoch 2", "a", "b", "c"]


@pytest.mark.parametrize("classes", [3, SHOWN_CLASSES + 5])
def test_counts_are_the_bars(classes: int) -> None:
    counts = {name: np.arange(classes) + turn for turn, name in enumerate(prepared.SPLITS)}
    figure = class_counts([f"class {label}" for label in range(classes)], counts).figure
    (ax,) = figure.axes
    shown = min(classes, SHOWN_CLASSES)
    labels = [int(text.get_text().removeprefix("class ")) for text in ax.get_yticklabels()]
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(3, shown)
    np.testing.assert_array_equal(widths, np.array([labels, labels, labels]) + np.arange(3)[:, None])
    assert set(labels) == set(range(classes - shown, classes))  # of too many classes, the largest


def test_a_validation_split_of_the_source_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{split}/{label}/{i}.png" for split in ("train", "val", "test") for label in "ab" for i in range(3)]
    write_folder(tmp_path / "mine", tree(*names))
    run(monkeypatch, tmp_path, source="folder", path="mine", val_share=0.5)
    data = artifacts.read_json(Path("metrics/data.json"))
    assert [data[name] for name in prepared.SPLITS] == [6, 6, 6]
    assert any("data.val_share is not applied" in note for note in data["notes"])
