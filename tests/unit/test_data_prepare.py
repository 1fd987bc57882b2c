"""From raw files to splits, statistics and digest."""

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src import artifacts
from src.data import cifar_batches, image_folder
from src.data.images import decode
from src.data.prepare import channel_statistics, prepare
from src.data.prepared import Prepared, digest_of
from src.data.sources.shapes import SPEC
from src.data.split import drawn, stratified
from src.errors import UserError
from tests.unit.data_helpers import parameters, tree, write_tar, write_zip

NAMES = [f"{label}/{number}.png" for label in ("cat", "dog", "emu") for number in range(8)]


def test_statistics_by_hand() -> None:
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[1, ..., 0] = 255  # half of red is 1: mean 1/2, deviation 1/2
    images[..., 1] = 51  # constant 0.2: deviation is floored
    images[0, :8, :, 2] = 255  # a quarter of blue is 1: deviation sqrt(1/4 * 3/4)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((0.5, 0.2, 0.25))
    assert std == pytest.approx((0.5, 1 / 255, np.sqrt(3) / 4))


@given(st.lists(st.integers(2, 60), min_size=2, max_size=6), st.floats(0.01, 0.9), st.integers(0, 2**32 - 1))
def test_split_is_stratified(counts: list[int], share: float, seed: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    classes = [str(label) for label in range(len(counts))]
    kept, cut = stratified(labels, share, seed, classes)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(len(labels)))
    for label, count in enumerate(counts):
        number = int((labels[cut] == label).sum())
        assert 1 <= number <= count - 1
        assert abs(number - share * count) <= 1
    np.testing.assert_array_equal(cut, stratified(labels, share, seed, classes)[1])


def test_split_depends_on_its_seed_and_names_small_classes() -> None:
    labels = np.repeat(np.arange(2), 50)
    first, second = (stratified(labels, 0.5, seed, ["a", "b"])[1] for seed in (0, 1))
    assert not np.array_equal(first, second)
    with pytest.raises(UserError, match="class b has only one image"):
        stratified(np.array([0, 0, 1]), 0.5, 0, ["a", "b"])


LABELS = st.lists(st.integers(0, 4), max_size=80).map(lambda labels: np.array(labels, np.int64))


@given(LABELS, st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 2**32 + 3))
def test_a_sample_is_stratified_and_part_of_a_larger_one(
    labels: np.ndarray, one: float, other: float, seed: int
) -> None:
    small, large = (drawn(labels, share, seed) for share in sorted((one, other)))
    assert set(small.tolist()) <= set(large.tolist())
    assert small.tolist() == sorted(set(small.tolist()))
    for label in set(labels.tolist()):
        of_class = int((labels == label).sum())
        assert int((labels[small] == label).sum()) == max(1, round(min(one, other) * of_class))
    np.testing.assert_array_equal(drawn(labels, 1.0, seed), np.arange(len(labels)))


def test_a_sample_depends_on_its_seed() -> None:
    labels = np.repeat(np.arange(2), 50)
    first, second = (drawn(labels, 0.2, seed) for seed in (0, 1))
    assert len(first) == len(second) == 20
    assert not np.array_equal(first, second)


def pixels(ready: Prepared, name: str) -> set[bytes]:
    """The images of a split; those of these tests are all different."""
    return {image.tobytes() for image in getattr(ready, name).images}


def test_a_share_of_a_folder(tmp_path: Path) -> None:
    """20 images a class: a quarter of them to test, a fifth of the 15 left to validate; then a share of each split."""
    names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(20)]
    write_tar(tmp_path / "images.tar", tree(*names))

    def share(value: float) -> Prepared:
        return prepare(tmp_path, parameters(source="folder", test_share=0.25, val_share=0.2, share=value))[0]

    quarter, half, whole = share(0.25), share(0.5), share(1.0)
    for ready, sizes in ((quarter, (3, 1, 1)), (half, (6, 2, 2)), (whole, (12, 3, 5))):  # a class; round(2.5) is 2
        for name, size in zip(("train", "val", "test"), sizes, strict=True):
            assert np.bincount(getattr(ready, name).labels).tolist() == [size, size]
    for name in ("train", "val", "test"):
        assert pixels(quarter, name) < pixels(half, name) < pixels(whole, name)
    assert not pixels(half, "train") & (pixels(whole, "test") | pixels(whole, "val"))
    assert len({ready.digest for ready in (quarter, half, whole)}) == 3
    assert (half.mean, half.std) == channel_statistics(half.train.images) != (whole.mean, whole.std)
    assert share(0.5).digest == half.digest


def test_a_share_keeps_every_class(tmp_path: Path) -> None:
    write_tar(tmp_path / "images.tar", tree(*NAMES))
    ready, _, _ = prepare(tmp_path, parameters(source="folder", share=1e-6))
    for split in (ready.train, ready.val, ready.test):
        assert split.labels.tolist() == [0, 1, 2]
    assert len(prepare(tmp_path, parameters(source="folder", share=0.5, val_share=0.0))[0].val) == 0


def test_true_masks_follow_a_share(tmp_path: Path) -> None:
    spec = {"seed": 3, "train": 60, "test": 40}
    artifacts.write_json(tmp_path / SPEC, spec)
    whole, half = (prepare(tmp_path, parameters(source="shapes", shapes=spec, share=s))[0] for s in (1.0, 0.5))
    assert whole.test_masks is not None
    assert half.test_masks is not None
    assert len(half.test) == len(half.test_masks) < len(whole.test)
    mask_of = {i.tobytes(): mask for i, mask in zip(whole.test.images, whole.test_masks, strict=True)}
    for image, mask in zip(half.test.images, half.test_masks, strict=True):
        np.testing.assert_array_equal(mask_of[image.tobytes()], mask)


def test_folder_to_prepared(tmp_path: Path) -> None:
    files = tree(*NAMES)
    write_zip(tmp_path / "images.zip", dict(reversed(files.items())))
    data = parameters(source="folder", test_share=0.25)
    ready, read, _ = prepare(tmp_path, data)
    assert ready.classes == ["cat", "dog", "emu"]
    assert [len(split) for split in (ready.train, ready.val, ready.test)] == [12, 6, 6]  # 8 - 2 - round(6 / 4) a class
    assert ready.train.images.shape == (12, 16, 16, 3)
    assert read.unreadable == {}
    assert (ready.mean, ready.std) == channel_statistics(ready.train.images)
    assert ready.digest == digest_of([ready.train, ready.val, ready.test], None, ready.classes)

    expected = {decode(content, 16).tobytes(): name.split("/")[0] for name, content in files.items()}
    for split in (ready.train, ready.val, ready.test):
        for image, label in zip(split.images, split.labels, strict=True):
            assert expected.pop(image.tobytes()) == ready.classes[label]
    assert not expected  # every file is in exactly one split

    other = tmp_path / "tar"  # the same files in another container give the same data
    other.mkdir()
    write_tar(other / "images.tar.xz", files, "w:xz")
    assert prepare(other, data)[0].digest == ready.digest
    assert prepare(tmp_path, parameters(source="folder", test_share=0.25, split_seed=1))[0].digest != ready.digest


def test_own_test_split_and_no_validation(tmp_path: Path) -> None:
    write_tar(tmp_path / "images.tar", tree("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/2.png"))
    ready, _, _ = prepare(tmp_path, parameters(source="folder", val_share=0.0))
    assert [len(split) for split in (ready.train, ready.val, ready.test)] == [2, 0, 2]
    assert ready.val.images.shape == (0, 16, 16, 3)
    assert ready.val.labels.dtype == np.int64


def test_unreadable_files_are_named_and_bounded(tmp_path: Path) -> None:
    files = tree(*NAMES) | {"cat/broken.png": b"no image", "cat/empty.jpg": b"", "README.md": b"hello"}
    write_tar(tmp_path / "images.tar", files)
    with pytest.raises(UserError, match=r"2 of 26 files (.|\n)*cat/broken\.png: (.|\n)*max_unreadable=0.077") as caught:
        prepare(tmp_path, parameters(source="folder"))
    assert "README" not in str(caught.value)
    _, read, _ = prepare(tmp_path, parameters(source="folder", max_unreadable=0.077))
    assert list(read.unreadable) == ["cat/broken.png", "cat/empty.jpg"]
    assert list(read.left_out) == ["README.md"]


def test_long_lists_of_unreadable_files_are_cut(tmp_path: Path) -> None:
    write_tar(tmp_path / "images.tar", {f"cat/{number:02}.png": b"?" for number in range(14)} | tree("dog/1.png"))
    with pytest.raises(UserError, match=r"cat/09\.png: .*\n  and 4 more\n"):
        prepare(tmp_path, parameters(source="folder"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat/1.png", "cat/2.png"], r"one class \(cat\)"),
        (["README.png"], "no image in a class folder"),
        (["a/1.png", "a/2.png", "a/3.png", "b/1.png"], "test_share: class b has only one image"),
        (["a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png"], "val_share.*class b has only one image"),
    ],
)
def test_wrong_classes(tmp_path: Path, names: list[str], message: str) -> None:
    write_tar(tmp_path / "images.tar", tree(*names))
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, parameters(source="folder"))


def test_class_without_a_readable_image(tmp_path: Path) -> None:
    write_tar(tmp_path / "images.tar", tree("a/1.png", "a/2.png", "b/1.png") | {"c/1.png": b"?"})
    with pytest.raises(UserError, match="no image can be read in class c"):
        prepare(tmp_path, parameters(source="folder", max_unreadable=0.5))


def test_missing_raw_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro -f download"):
        prepare(tmp_path, parameters(source="cifar10"))


def test_rounds_keep_order_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "ROUND_FILES", 3)
    monkeypatch.setattr(image_folder, "ROUND_BYTES", 10)
    rounds = list(image_folder._rounds([("a", b"1"), ("b", bytes(20)), ("c", b""), ("d", b""), ("e", b""), ("f", b"")]))
    assert [names for names, _ in rounds] == [["a", "b"], ["c", "d", "e"], ["f"]]


def cifar_archive(path: Path) -> dict[str, dict[bytes, object]]:
    """A little archive of the official form: two images a batch, flat, all red, all green, all blue."""
    rng = np.random.default_rng(0)
    batches: dict[str, dict[bytes, object]] = {
        name: {b"data": rng.integers(0, 256, (2, 3072), np.uint8), b"labels": [number % 2, 1]}
        for number, name in enumerate([*cifar_batches.BATCHES["train"], *cifar_batches.BATCHES["test"]])
    }
    batches["batches.meta"] = {b"label_names": [b"cat", b"dog"]}
    files = {f"cifar-10-batches-py/{name}": pickle.dumps(batch, protocol=2) for name, batch in batches.items()}
    write_tar(path, files | {"cifar-10-batches-py/readme.html": b"<html>"}, "w:gz")
    return batches


def test_cifar_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    batches = cifar_archive(path)
    with pytest.raises(UserError, match="has changed"):
        cifar_batches.read(path, parameters(size=32))
    monkeypatch.setattr(cifar_batches, "DIGESTS", {})
    read = cifar_batches.read(path, parameters(size=32))
    assert read.test is not None
    assert (read.train.images.shape, read.test.images.shape) == ((10, 32, 32, 3), (2, 32, 32, 3))
    assert read.train.labels.tolist() == [0, 1, 1, 1, 0, 1, 1, 1, 0, 1]
    assert read.classes == ["cat", "dog"]
    flat = batches["data_batch_2"][b"data"]
    assert isinstance(flat, np.ndarray)
    assert read.train.images[2, 1, 5].tolist() == [flat[0, channel * 1024 + 32 + 5] for channel in range(3)]
    assert cifar_batches.read(path, parameters(size=16)).train.images.shape == (10, 16, 16, 3)


def test_pickles_cannot_call(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit",)

    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        content = pickle.dumps({b"data": Evil()}, protocol=2)
        member = tarfile.TarInfo("test_batch")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    with pytest.raises(pickle.UnpicklingError, match="not part of a CIFAR batch"):
        cifar_batches.unpack(path)
