"""Every layout of layouts.py, as a folder, a zip and a tar, from the source to the prepared splits."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data import image_folder
from src.data.images import decode
from src.data.layout import recognise, split_name
from src.data.prepare import prepare
from src.data.prepared import SPLITS, Prepared
from src.data.raw import RawData
from src.data.sources import FETCHERS
from src.errors import UserError
from src.params import Data
from tests.data.layouts import CASES, CONTAINERS, Case, Writer
from tests.unit.data_helpers import parameters


def get(data: Data, folder: Path) -> tuple[Prepared, RawData]:
    """What `download` and `prepare` make of the source."""
    FETCHERS["folder"](data, folder / "raw")
    ready, read, _ = prepare(folder / "raw", data)
    return ready, read


@pytest.mark.parametrize(
    ("case", "container", "write"),
    [
        pytest.param(case, container, write, id=f"{case.name}-{container}")
        for case in CASES
        for container, write in case.containers.items()
    ],
)
def test_layout(case: Case, container: str, write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "cores", lambda: 1)  # to start a second process takes longer than to decode
    source = write(tmp_path / "source", case.files)
    data = parameters(source="folder", path=str(source), **case.data)
    if case.error:
        with pytest.raises(UserError, match=case.error) as caught:
            get(data, tmp_path)
        assert str(source) in str(caught.value)  # the user's name for it, and not that of its copy
        assert str(tmp_path / "raw") not in str(caught.value)
        return
    ready, read = get(data, tmp_path)
    assert read.layout == case.layout
    assert ready.classes == sorted(case.counts)
    splits = [getattr(ready, name) for name in SPLITS]
    counts = [np.bincount(split.labels, minlength=len(ready.classes)) for split in splits]
    assert dict(zip(ready.classes, zip(*counts, strict=True), strict=True)) == case.counts

    # Of a folder, only images are packed that lie in no subfolder.
    left_out = {n: why for n, why in case.left_out.items() if container != "folder" or n.endswith(".png") or "/" in n}
    assert read.left_out.keys() == left_out.keys()
    assert all(words in read.left_out[name] for name, words in left_out.items())
    assert len(read.notes) == len(case.notes)
    assert all(words in note for words, note in zip(case.notes, read.notes, strict=True))

    if write is CONTAINERS[container]:  # names are as they were given
        for split in splits:
            assert split.files is not None
            for image, label, name in zip(split.images, split.labels, split.files, strict=True):
                np.testing.assert_array_equal(image, decode(case.files[name], 16))
                assert ready.classes[label] in name or "\u0301" in name


FOLDERS = st.lists(st.sampled_from(["train", "Test", "valid", "cat", "dog", "images"]), max_size=4).map("/".join)


@given(st.dictionaries(FOLDERS, st.sampled_from(["image", "text", "empty"]), max_size=12))
def test_any_tree_is_recognised_or_rejected(tree: dict[str, str]) -> None:
    """Every file gets a place or a reason, and a class is a folder on its path."""
    names = [f"{folder}/{kind}".lstrip("/") for folder, kind in tree.items() if kind != "empty"]
    try:
        found = recognise(names, [name for name in names if name.endswith("image")], [f"{f}/" for f in tree if f])
    except UserError:
        return
    assert sorted([*found.places, *found.left_out]) == sorted(names)
    for name, (split, label) in found.places.items():
        folders = name.split("/")[:-1]
        assert label in folders
        assert split == "train" or split in map(split_name, folders) or "valid" in folders
    empty = {f for f, kind in tree.items() if f and kind == "empty"} - {name.split("/")[0] for name in names}
    assert found.description != "CLASS/*" or all("/" in folder for folder in empty)  # no class vanishes


def test_names_of_splits() -> None:
    for name in ("train", "Train", "seg_train", "training-set", "TrainingData", "images_train", "train2017", "1_train"):
        assert split_name(name) == "train"
    for name in ("val", "VALID", "validation set", "dev", "val_images"):
        assert split_name(name) == "val"
    for name in ("test", "Testing", "test_set", "testdata"):
        assert split_name(name) == "test"
    for name in ("trains", "trainval", "latest", "contest", "protest", "éval", "steam train", "developer", "", "set"):
        assert split_name(name) is None
    assert split_name("dataset" * 40 + "x") is None  # in no time
