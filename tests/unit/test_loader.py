"""Batches: every image once an epoch, the same ones whatever the number of workers."""

import errno
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import SemLock
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from src.data import image_folder, loader
from src.data.augmenters import make_augmenter
from src.data.loader import ShuffledBatches, set_epoch, slow_way, to_tensors, train_loader
from src.data.prepared import Split
from src.errors import sentence
from src.processes import cores
from src.training.ranks import Ranks
from tests.unit.data_helpers import parameters, tree, write_tar

CPU = torch.device("cpu")
COMMON: list[dict[str, Any]] = [
    {"name": "Pad", "padding": 2},
    {"name": "RandomCrop", "height": 16, "width": 16},
    {"name": "HorizontalFlip", "p": 0.5},
]
ONE_BY_ONE: list[dict[str, Any]] = [*COMMON, {"name": "VerticalFlip", "p": 0.5}]


@pytest.fixture
def limit() -> Iterator[None]:
    """Ends a loader that waits for ever."""

    def end(*_: object) -> None:
        raise TimeoutError("the loader waits for ever")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make(
    count: int, batch_size: int = 8, seed: int = 0, workers: int = 0, transforms: list[dict[str, Any]] = COMMON
) -> DataLoader[Any]:
    images = np.random.default_rng(1).integers(0, 256, (count, 16, 16, 3), np.uint8)
    split = Split(images, np.arange(count, dtype=np.int64))  # the label tells the index
    augmenter = make_augmenter(transforms, 16, seed)
    return train_loader(split, augmenter, batch_size=batch_size, seed=seed, workers=workers, device=CPU)


def epochs(loader: DataLoader[Any], *numbers: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """All images and labels of each of these epochs, in order."""
    seen = []
    for number in numbers:
        set_epoch(loader, number)
        images, labels = zip(*loader, strict=True)
        seen.append((torch.cat(images), torch.cat(labels)))
    return seen


def test_every_image_once_in_a_new_order_each_epoch() -> None:
    (first, a), (_, b), (again, c) = epochs(make(21, transforms=[]), 1, 2, 1)
    assert sorted(a.tolist()) == sorted(b.tolist()) == list(range(21))
    assert a.tolist() != b.tolist()
    assert a.tolist() == c.tolist()
    assert torch.equal(first, again)
    assert (first.shape, first.dtype, a.dtype) == ((21, 16, 16, 3), torch.uint8, torch.int64)
    assert epochs(make(21, seed=1), 1)[0][1].tolist() != a.tolist()


def test_images_keep_their_labels() -> None:
    batches = make(21, transforms=[])
    originals = batches.dataset.images[..., :3]  # type: ignore[attr-defined]
    ((images, labels),) = epochs(batches, 3)
    assert torch.equal(images, originals[labels])


@pytest.mark.parametrize("workers", [1, 2])
def test_same_batches_for_any_number_of_workers(workers: int) -> None:
    without_workers = epochs(make(50, transforms=ONE_BY_ONE), 1, 2)
    with_workers = epochs(make(50, workers=workers, transforms=ONE_BY_ONE), 1, 2)  # the workers outlive the first epoch
    for (images, labels), (images2, labels2) in zip(without_workers, with_workers, strict=True):
        assert torch.equal(images, images2)
        assert torch.equal(labels, labels2)
    by_index = [images[labels.argsort()] for images, labels in with_workers]
    assert (by_index[0] != by_index[1]).flatten(1).any(dim=1).float().mean() > 0.8  # augmented anew


def no_room() -> float:
    return 0.0


def no_share(storage: object) -> tuple[int, int]:
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)")


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("full", ["before the look", "after it"])
def test_batches_that_shared_memory_cannot_hold_arrive_all_the_same(full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers = epochs(make(50, transforms=ONE_BY_ONE), 1, 2)
    if full == "before the look":
        monkeypatch.setattr(loader, "shared_room", no_room)
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", no_share)
    with_workers = epochs(make(50, workers=2, transforms=ONE_BY_ONE), 1, 2)
    for (images, labels), (images2, labels2) in zip(without_workers, with_workers, strict=True):
        assert torch.equal(images, images2)
        assert torch.equal(labels, labels2)
        images2 += 1  # what training does with a batch in place works too


def test_a_warning_names_the_slow_way_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(workers: int, transforms: list[dict[str, Any]] = ONE_BY_ONE) -> str | None:
        return slow_way(make(50, workers=workers, transforms=transforms))

    assert warning(2) is None
    monkeypatch.setattr(loader, "shared_room", lambda: 2 * 8 * 16 * 16 * 3 - 1)  # a byte less than two batches
    assert "--shm-size" in str(warning(2))
    assert warning(1) is warning(0) is warning(2, COMMON) is None


class Dies:
    """An augmenter whose process is killed in the second epoch."""

    one_by_one = True

    def __init__(self, by: signal.Signals) -> None:
        self.by = by

    def __call__(self, images: torch.Tensor, indices: torch.Tensor, epoch: int) -> torch.Tensor:
        if epoch == 2:
            os.kill(os.getpid(), self.by)
        return images[indices]


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize(("by", "said"), [(signal.SIGBUS, "/dev/shm"), (signal.SIGKILL, "memory")])
def test_a_worker_that_dies_is_noticed_and_named(by: signal.Signals, said: str) -> None:
    split = Split(np.zeros((50, 16, 16, 3), np.uint8), np.arange(50))
    batches = train_loader(split, Dies(by), batch_size=8, seed=0, workers=2, device=CPU)
    epochs(batches, 1)
    with pytest.raises(RuntimeError) as caught:
        epochs(batches, 2)
    told = str(sentence(caught.value))
    assert said in told
    assert "train.workers" in told
    assert ("--shm-size" in told) == (by == signal.SIGBUS)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.EACCES, errno.ENOSYS])
def test_workers_that_cannot_have_semaphores_are_a_sentence(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("multiprocessing.synchronize._multiprocessing.SemLock", refuse)
    archive = write_tar(tmp_path / "images.tar", tree("a/1.png", "b/1.png"))
    for start in (
        lambda: make(50, workers=2, transforms=ONE_BY_ONE),
        lambda: image_folder.read(archive, parameters()),
        lambda: ProcessPoolExecutor(2),  # whoever starts it
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            start()
        said = str(sentence(caught.value))
        assert all(cure in said for cure in ("/dev/shm", "--shm-size", "train.workers=0"))
    make(50, workers=0, transforms=ONE_BY_ONE)


@pytest.mark.parametrize("workers", [1, 2])
def test_as_many_semaphores_are_tried_as_a_loader_makes(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if workers > cores():
        pytest.skip(f"needs {workers} cores: a loader has at most one worker per core")
    made = count_semaphores(monkeypatch)
    batches = make(50, workers=workers, transforms=ONE_BY_ONE)
    tried = len(made)
    iter(batches)
    assert len(made) == 2 * tried


def test_as_many_semaphores_are_tried_as_a_pool_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_semaphores(monkeypatch)
    ProcessPoolExecutor(2).shutdown()
    assert len(made) == image_folder.SEMAPHORES


def count_semaphores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with every semaphore."""
    made: list[str] = []
    make_name = SemLock._make_name

    def name() -> str:
        made.append(make_name())
        return made[-1]

    monkeypatch.setattr(SemLock, "_make_name", staticmethod(name))
    return made


def test_only_what_goes_image_by_image_gets_worker_processes() -> None:
    assert make(8, workers=2).num_workers == 0
    assert make(8, workers=2, transforms=ONE_BY_ONE).num_workers == 2


def test_a_fourth_channel_changes_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    ((padded, _),) = epochs(make(21), 1)
    monkeypatch.setattr(loader, "PADDED", 0)
    ((plain, _),) = epochs(make(21), 1)
    assert torch.equal(padded, plain)


def test_images_that_do_not_fit_on_the_gpu_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(np.zeros((8, 16, 16, 3), np.uint8), np.zeros(8, np.int64))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * split.images.nbytes - 1, 0))
    images, labels = to_tensors(split, torch.device("cuda"))
    assert (images.device.type, labels.device.type) == ("cpu", "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: whether anything waits for it")
def test_a_batch_on_the_gpu_waits_for_nothing() -> None:
    split = Split(np.zeros((64, 16, 16, 3), np.uint8), np.zeros(64, np.int64))
    augmenter = make_augmenter(COMMON, 16, 0)
    batches = iter(train_loader(split, augmenter, batch_size=8, seed=0, workers=0, device=torch.device("cuda")))
    next(batches)  # makes the tables of the epoch
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert sum(len(labels) for _, labels in batches) == 56
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("count", "batches"), [(16, 2), (17, 2), (18, 3), (1, 1), (8, 1), (9, 1)])
def test_a_last_batch_of_one_is_left_out(count: int, batches: int) -> None:
    made = make(count)
    sizes = [len(labels) for _, labels in made]
    assert len(made) == len(sizes) == batches
    assert sum(sizes) == (count - 1 if count in (9, 17) else count)


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 2**32 - 1), st.integers(1, 1000))
def test_batches_cover_the_split(images: int, batch_size: int, seed: int, epoch: int) -> None:
    batches = ShuffledBatches(images, batch_size, seed)
    batches.epoch = epoch
    keys = list(batches)
    assert len(keys) == len(batches)
    indices = [index for _, chosen in keys for index in chosen.tolist()]
    assert {number for number, _ in keys} == {epoch}
    assert len(set(indices)) == len(indices) >= images - 1
    assert len(indices) == images or (batch_size > 1 and images % batch_size == 1)


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 9), st.integers(0, 99), st.sampled_from([2, 8]))
def test_the_parts_of_all_ranks_are_the_batches_of_one(
    images: int, batch_size: int, count: int, seed: int, fewest: int
) -> None:
    """In its order, so that each rank has the images that it would have in any other process."""
    whole = ShuffledBatches(images, batch_size, seed, fewest=fewest)
    parts = [ShuffledBatches(images, batch_size, seed, Ranks(rank, count).part, fewest) for rank in range(count)]
    assert [len(part) for part in parts] == [len(whole)] * count
    for size, (epoch, batch), *keys in zip(whole.sizes(), whole, *parts, strict=True):
        assert np.concatenate([chosen for _, chosen in keys]).tolist() == batch.tolist()
        assert len(batch) == size
        assert {number for number, _ in keys} == {epoch}
        lengths = [len(chosen) for _, chosen in keys]
        assert max(lengths) - min(lengths) <= 1
    assert whole.sizes()[-1] >= min(fewest, batch_size, images)


def test_augmentation_does_not_depend_on_the_number_of_ranks() -> None:
    def batches(rank: int, count: int, transforms: list[dict[str, Any]]) -> list[torch.Tensor]:
        split = Split(np.random.default_rng(1).integers(0, 256, (21, 16, 16, 3), np.uint8), np.arange(21))
        augmenter = make_augmenter(transforms, 16, 0)
        part = Ranks(rank, count).part
        made = train_loader(split, augmenter, batch_size=8, seed=0, workers=0, device=CPU, part=part)
        set_epoch(made, 5)
        return [images for images, _ in made]

    for transforms in (COMMON, ONE_BY_ONE):
        for whole, *parts in zip(
            batches(0, 1, transforms), *(batches(rank, 3, transforms) for rank in range(3)), strict=True
        ):
            assert torch.equal(torch.cat(parts), whole)
