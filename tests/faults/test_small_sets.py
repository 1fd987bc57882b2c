"""Few images of a class, or none in the test set: every stage works, or `prepare` says what is missing."""

from pathlib import Path
from typing import Any

import pytest

from src import artifacts
from src.errors import UserError
from tests.faults.small import enter, run, small
from tests.unit.data_helpers import tree, write_folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's images, in a workspace of its own."""
    enter(tmp_path, monkeypatch)
    return tmp_path / "own"


def fill(own: Path, **counts: int) -> None:
    """So many different images in each folder; `train__cat` is train/cat."""
    names = [f"{folder.replace('__', '/')}/{number}.png" for folder, count in counts.items() for number in range(count)]
    write_folder(own, tree(*names))


def of_folder(**changes: Any) -> Any:
    """Parameters whose batch is larger than the training split; a dot in a key is written as '__'."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return small(**{"data.source": "folder", "train.batch_size": 128, **named})


def counts() -> list[tuple[int, int, int]]:
    return [(row["train"], row["val"], row["test"]) for row in artifacts.read_json(Path("metrics/data.json"))["counts"]]


def test_a_class_with_two_images_is_named(own: Path) -> None:
    fill(own, cat=8, dog=8, emu=2)
    with pytest.raises(UserError, match=r"data\.val_share \(0 keeps .*class emu has only one image"):
        run(of_folder(), "download", "prepare")


@pytest.mark.slow
def test_a_class_with_two_images_without_validation(own: Path) -> None:
    fill(own, cat=8, dog=8, emu=2)
    run(of_folder(data__val_share=0.0))
    assert counts() == [(6, 0, 2), (6, 0, 2), (1, 0, 1)]
    (epoch,) = artifacts.read_csv(Path("metrics/history.csv"))
    assert epoch["val_loss"] == ""


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("batch_size", [1, 128])
def test_eight_images_a_class(own: Path, norm: str, batch_size: int) -> None:
    fill(own, cat=8, dog=8)
    run(of_folder(norm=norm, train__batch_size=batch_size))
    assert counts() == [(5, 1, 2), (5, 1, 2)]  # round(0.2 * 8) to test, at least one of the rest to validation
    assert len(artifacts.read_csv(Path("metrics/predictions.csv"))) == 4


@pytest.mark.slow
def test_one_training_image_a_class_and_a_class_that_test_lacks(own: Path) -> None:
    fill(own, train__cat=1, train__dog=1, train__emu=1, test__cat=3, test__dog=2)
    run(of_folder(data__val_share=0.0))
    assert counts() == [(1, 0, 3), (1, 0, 2), (1, 0, 0)]
    scores = {row["class"]: row for row in artifacts.read_csv(Path("metrics/per_class.csv"))}
    assert (scores["emu"]["recall"], scores["emu"]["images"]) == ("", "0")
    assert scores["cat"]["recall"] != ""
    for page in ("reports/run.html", "reports/model_card.md"):
        text = Path(page).read_text(encoding="utf-8")
        assert "emu" in text
        assert "nan" not in text.lower().split()
