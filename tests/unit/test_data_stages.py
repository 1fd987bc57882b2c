"""The stages `download` and `prepare` from parameters to files, and their figures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src import artifacts
from src.data import prepared
from src.figures.prepare import SHOWN_CLASSES, augmented_grid, class_counts
from src.params import Params, load_params
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
    assert artifacts.read_json(Path("metrics/data.json")) == {
        "source": "shapes",
        "digest": ready.digest,
        "classes": 10,
        "size": 16,
        "share": 1.0,
        "train": 30,
        "val": 10,
        "test": 20,
        "unreadable": 0,
    }
    assert "60 images of 10 classes, 16 x 16: 30 train, 10 val, 20 test; 0 unreadable" in capsys.readouterr().out
    for name in ("augmented", "class_counts"):
        with Image.open(f"figures/prepare/{name}.png") as image:
            assert min(image.size) > 200


def test_a_share_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, tmp_path, source="shapes", shapes={"seed": 0, "train": 80, "test": 20}, share=0.5)
    said = artifacts.read_json(Path("metrics/data.json"))
    assert [said[key] for key in ("share", "train", "val", "test")] == [0.5, 30, 10, 10]
    assert "10 test; 0 unreadable; a share of 0.5 of all (data.share)" in capsys.readouterr().out


def test_smallest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = tree(*(f"{label}/{number}.png" for label in ("$a$", "é") for number in range(3)))
    write_folder(tmp_path / "mine", files | {"é/broken.jpg": b"?"})
    run(monkeypatch, tmp_path, source="folder", path="mine", max_unreadable=0.2)
    assert [len(getattr(prepared.load(), name)) for name in prepared.SPLITS] == [2, 2, 2]
    assert "left out: é/broken.jpg: not an image format" in capsys.readouterr().err


def test_grid_shows_the_images_it_is_given() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    figure = augmented_grid(images, np.stack([images[::-1], images]), ["a", "b", "c"], [1, 2])
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
    figure = class_counts([f"class {label}" for label in range(classes)], counts)
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
