"""The same picture twice: found across splits and labels, and kept on one side of a split."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from src.data import duplicates as module
from src.data.duplicates import Copy, Part, find_duplicates, fingerprints, first_copies
from src.data.prepare import prepare
from src.data.prepared import Split
from src.data.split import stratified
from src.errors import UserError
from tests.unit.data_helpers import parameters, picture, tree, write_tar

PICTURES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)


def part(pictures: list[int], labels: list[int], files: list[str] | None = None) -> Part:
    images = PICTURES[pictures]
    names = None if files is None else np.array(files, dtype=object)
    return Part(Split(images, np.array(labels, np.int64), names), fingerprints(images))


def first_of(pictures: list[int]) -> np.ndarray:
    return np.array([pictures.index(picture) for picture in pictures], np.int64)


def test_duplicates_by_hand() -> None:
    train = part([0, 1, 2, 2, 3, 4, 4], [0, 0, 0, 1, 0, 1, 1], ["a0", "a1", "a2", "b2", "a3", "b4", "b4 again"])
    val = part([1, 5], [0, 0])
    test = part([0, 0, 5, 3, 6], [0, 0, 1, 1, 0])
    found = find_duplicates((train, val, test), ["a", "b"])
    assert found.train_test == 3  # picture 0 twice, and 3
    assert found.train_val == 1  # picture 1
    assert found.val_test == 1  # picture 5
    assert found.two_labels == 6  # pictures 2, 3 and 5
    assert found.images == 11  # all but both copies of picture 4, and 6
    assert found.examples == [
        [Copy("train", "a", "a0"), Copy("test", "a", "image 0")],
        [Copy("train", "a", "a1"), Copy("val", "a", "image 0")],
        [Copy("train", "a", "a2"), Copy("train", "b", "b2")],
        [Copy("train", "a", "a3"), Copy("test", "b", "image 3")],
        [Copy("val", "a", "image 1"), Copy("test", "b", "image 2")],
    ]
    assert sum(line.startswith("the same picture") for line in found.lines()) == 5
    assert found.record()["examples"][0][0] == {"split": "train", "label": "a", "file": "a0"}


def test_no_duplicates() -> None:
    found = find_duplicates((part([0, 1, 1], [0, 1, 1]), part([], []), part([2], [0])), ["a", "b"])
    assert (found.images, found.examples, found.lines()) == (0, [], [])


def test_examples_are_bounded() -> None:
    pictures, labels = [0] * 50, [number % 10 for number in range(50)]
    (example,) = find_duplicates((part(pictures, labels), part([], []), part([0], [0])), list("abcdefghij")).examples
    assert len(example) == module.COPIES


@given(st.lists(st.integers(0, 5), max_size=30))
def test_first_copies_are_those_of_equal_pixels(pictures: list[int]) -> None:
    np.testing.assert_array_equal(first_copies(fingerprints(PICTURES[pictures])), first_of(pictures))


def test_fingerprints_see_every_pixel() -> None:
    images = np.zeros((8 * 8 * 3 + 1, 8, 8, 3), np.uint8)
    for place, image in enumerate(images[1:]):
        image.flat[place] = 1
    assert len(set(fingerprints(images).tolist())) == len(images)
    np.testing.assert_array_equal(fingerprints(images[:, ::-1]), fingerprints(images[:, ::-1].copy()))


def split_before_copies(labels: np.ndarray, share: float, seed: int, classes: int) -> np.ndarray:
    """Indices cut off by the algorithm of earlier versions, which knew no copies."""
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(labels), bool)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        taken[rng.permutation(members)[:count]] = True
    return np.flatnonzero(taken)


@given(st.lists(st.integers(2, 40), min_size=2, max_size=5), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_without_copies_the_split_is_as_before(counts: list[int], share: float, seed: int) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    _, cut = stratified(labels, share, seed, [str(label) for label in range(len(counts))], np.arange(len(labels)))
    np.testing.assert_array_equal(cut, split_before_copies(labels, share, seed, len(counts)))


# Pictures of each class, by number; the same number is the same picture.
ALBUMS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=25), min_size=2, max_size=4)


@given(ALBUMS, st.floats(0.01, 0.99), st.integers(0, 2**32 - 1), st.booleans())
def test_copies_stay_on_one_side(albums: list[list[int]], share: float, seed: int, across: bool) -> None:
    pictures = [number if across else (label, number) for label, album in enumerate(albums) for number in album]
    labels = np.repeat(np.arange(len(albums)), [len(album) for album in albums])
    first = first_of(pictures)
    classes = [str(label) for label in range(len(albums))]
    if any(len(set(album)) < 2 for album in albums):
        with pytest.raises(UserError, match=r"class \d "):
            stratified(labels, share, seed, classes, first)
        return
    try:
        kept, cut = stratified(labels, share, seed, classes, first)
    except UserError:
        assume(not across)  # all images of a class may be copies of ones that other classes put on one side
        raise
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(len(labels)))
    assert {pictures[i] for i in kept}.isdisjoint(pictures[i] for i in cut)
    for label, album in enumerate(albums):
        assert (labels[kept] == label).any()
        number = int((labels[cut] == label).sum())
        assert number > 0
        if not across:
            wanted = max(1, round(share * len(album)))
            sizes = [album.count(one) for one in set(album)]
            assert number <= max(min(wanted, len(album) - 1), min(sizes))
            assert number >= min(wanted, len(album) - 1) or sizes.count(1) < wanted


def test_a_split_in_linear_time() -> None:
    """A class of 200,000 images in which one picture is there twice: comparing all with all would take minutes."""
    first = np.arange(200_000)
    first[-1] = 0
    _, cut = stratified(np.zeros(200_000, np.int64), 0.1, 0, ["a"], first)
    assert len(cut) == 20_000


def test_copies_of_a_folder(tmp_path: Path) -> None:
    """Copies within a class go to one split when it is cut. One in an own test set is counted, and can be an error."""
    twice = {f"{label}/copy {number}.png": picture(number + 10 * ord(label)) for label in "ab" for number in range(6)}
    files = twice | {name.replace("copy", "original"): content for name, content in twice.items()}
    write_tar(tmp_path / "images.tar", files)
    data = {"source": "folder", "test_share": 0.34, "val_share": 0.5}
    ready, _, found = prepare(tmp_path, parameters(**data, max_duplicates=0.0))
    assert [len(split) for split in (ready.train, ready.val, ready.test)] == [8, 8, 8]
    assert found.images == 0

    files = tree("train/a/1.png", "train/a/2.png", "train/b/1.png", "train/b/2.png", "test/a/3.png", "test/b/3.png")
    write_tar(tmp_path / "images.tar", files | {"test/a/1.png": files["train/a/1.png"]})
    _, _, found = prepare(tmp_path, parameters(source="folder"))
    assert (found.train_test + found.val_test, found.images) == (1, 2)
    prepare(tmp_path, parameters(source="folder", max_duplicates=2 / 7))
    with pytest.raises(UserError, match=r"2 images (.|\n)*train/a/1\.png(.|\n)*data\.max_duplicates"):
        prepare(tmp_path, parameters(source="folder", max_duplicates=0.28))
