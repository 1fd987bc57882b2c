"""The canonical form survives a round trip, and damage is told in a sentence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.data.prepared import Prepared, Split, digest_of, load, load_files, save
from src.errors import UserError


def make(val: int = 3, masks: bool = True) -> Prepared:
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        return Split(rng.integers(0, 256, (count, 16, 16, 3), np.uint8), np.arange(count, dtype=np.int64) % 2)

    train, held, test = split(6), split(val), split(4)
    true = rng.random((4, 16, 16)) > 0.5 if masks else None
    classes = ["ä", "b"]
    digest = digest_of([train, held, test], true, classes)
    return Prepared(train, held, test, classes, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "folder", digest, true)


@pytest.mark.parametrize(("val", "masks"), [(3, True), (0, False)])
def test_round_trip(tmp_path: Path, val: int, masks: bool) -> None:
    before = make(val, masks)
    save(before, tmp_path / "prepared")
    after = load(tmp_path / "prepared")
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(after, name).images, getattr(before, name).images)
        np.testing.assert_array_equal(getattr(after, name).labels, getattr(before, name).labels)
    assert (after.classes, after.mean, after.std, after.source, after.size) == (
        before.classes,
        before.mean,
        before.std,
        "folder",
        16,
    )
    assert len(after.val) == val
    assert (after.test_masks is not None) == masks
    assert after.digest == digest_of([after.train, after.val, after.test], after.test_masks, after.classes)
    assert isinstance(after.train.images, np.memmap)


def test_names_of_files_survive(tmp_path: Path) -> None:
    before = make()
    names = ["a/1.png", 'ä\u0301/=1+1, "<b>" | 日本 🐶.png', " x ", "-rf"]
    test = replace(before.test, files=np.array(names, dtype=object))
    save(replace(before, test=test), tmp_path)
    assert load_files("test", tmp_path) == names
    assert load_files("train", tmp_path) == []
    (tmp_path / "test_files.json").write_text("[]")
    with pytest.raises(UserError, match=r"is damaged .* dvc repro"):
        load_files("test", tmp_path)


def test_digest_sees_every_part() -> None:
    before = make()
    splits = [before.train, before.val, before.test]
    images = before.test.images.copy()
    images[0, 0, 0, 0] ^= 1
    assert before.test_masks is not None
    digests = {
        before.digest,
        digest_of([before.train, before.val, replace(before.test, images=images)], before.test_masks, before.classes),
        digest_of([before.train, before.val, replace(before.test, labels=1 - before.test.labels)], None, ["ä", "b"]),
        digest_of(splits, ~before.test_masks, before.classes),
        digest_of(splits, before.test_masks, ["a", "b"]),
        digest_of(splits, None, before.classes),
    }
    assert len(digests) == 6


def test_missing_data_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro prepare"):
        load(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "gone", "labels", "meta"])
def test_damage_is_told(tmp_path: Path, damage: str) -> None:
    save(make(), tmp_path)
    if damage == "cut":
        path = tmp_path / "train_images.npy"
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "gone":
        (tmp_path / "test_masks.npy").unlink()
    elif damage == "labels":
        np.save(tmp_path / "test_labels.npy", np.full(4, 2))
    else:
        (tmp_path / "meta.json").write_text("{")
    with pytest.raises(UserError, match=r"is damaged .* dvc repro"):
        load(tmp_path)
