"""Batches of augmented training images, the same for any number of workers."""

import pickle
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, get_worker_info

from src.data.augmenters import Augmenter
from src.data.prepared import Split
from src.data.workers import SHARED, leave_stops_to_the_parent, shared_room, try_semaphores
from src.errors import MORE_SHM
from src.processes import cores

Keys = tuple[int, npt.NDArray[np.int64]]  # epoch (persistent workers need it), and indices (B,) in the split
Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 (B, S, S, 3), int64 (B,)

RESIDENT = 0.25  # largest share of a GPU's free memory for images; the rest is for training
PADDED = 2**30  # up to this size in bytes, all images get a fourth channel once, instead of each batch
PAGE = 4096  # bytes; shared memory is allocated in pages


class AugmentedSplit(Dataset[Batch]):
    """A split that augments whole batches on the device of its tensors."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, augmenter: Augmenter) -> None:
        self.images = images  # may have a fourth channel, see PADDED
        self.labels = labels
        self.augmenter = augmenter

    def __getitems__(self, keys: Keys) -> Batch:
        epoch, chosen = keys
        indices = torch.from_numpy(chosen).to(self.images.device, non_blocking=True)
        return self.augmenter(self.images, indices, epoch), self.labels[indices]


class ShuffledBatches:
    """Keys of the batches of one epoch, or of one part of each batch, in an order drawn from (seed, epoch).

    `part` returns the slice for a batch of so many images, and `slice` itself returns all of them. A last batch with
    fewer than `fewest` images is skipped if there are others, because batch norm needs more than one image.
    """

    def __init__(
        self, images: int, batch_size: int, seed: int, part: Callable[[int], slice] = slice, fewest: int = 2
    ) -> None:
        rest = images % batch_size
        self.images = images - rest if rest < fewest and images > batch_size else images
        self.population = images
        self.batch_size = batch_size
        self.seed = seed
        self.part = part
        self.epoch = 1

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)

    def __iter__(self) -> Iterator[Keys]:
        epoch = self.epoch
        order = np.random.default_rng([self.seed, epoch]).permutation(self.population)[: self.images]
        for start in range(0, self.images, self.batch_size):
            batch = order[start : start + self.batch_size]
            yield epoch, batch[self.part(len(batch))]

    def sizes(self) -> list[int]:
        """The number of images in each whole batch."""
        return [min(self.batch_size, self.images - start) for start in range(0, self.images, self.batch_size)]


def train_loader(
    split: Split,
    augmenter: Augmenter,
    *,
    batch_size: int,
    seed: int,
    workers: int,
    device: torch.device,
    part: Callable[[int], slice] = slice,
    fewest: int = 2,
) -> DataLoader[Batch]:
    """Make a loader of (uint8 (B, S, S, 3), int64 (B,)), shuffled and augmented by (seed, epoch). It starts at epoch 1.

    `part` selects the images of each batch, see `ShuffledBatches`.

    Batches are made on `device`, from images that stay there, or on the CPU if the images do not fit. An augmenter that
    works image by image runs on the CPU in `workers` processes (0: the calling process), which live as long as the
    loader. Other augmenters use no workers, because they take less time than sending a batch to another process
    (measured with images of 32 x 32 pixels).
    """
    workers = min(workers, cores()) if augmenter.one_by_one else 0
    if workers:
        try_semaphores(8 + 3 * workers)  # as many as a DataLoader creates
    images, labels = to_tensors(split, torch.device("cpu") if augmenter.one_by_one else device)
    if not augmenter.one_by_one and images.nbytes <= PADDED:
        images = F.pad(images, (0, 1))
    return DataLoader(
        AugmentedSplit(images, labels, augmenter),
        batch_sampler=ShuffledBatches(len(split), batch_size, seed, part, fewest),  # type: ignore[arg-type]  # keys do not have to be a list
        num_workers=workers,
        collate_fn=_hand_over,  # type: ignore[arg-type]  # it gets a whole batch instead of a list of items
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
    )


def to_tensors(split: Split, device: torch.device) -> Batch:
    """All images and labels of `split`, on `device` if they fit there (see RESIDENT), else on the CPU."""
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    if device.type == "cuda" and images.nbytes > RESIDENT * torch.cuda.mem_get_info(device)[0]:
        return images, labels
    return images.to(device), labels.to(device)


def set_epoch(loader: DataLoader[Batch], epoch: int) -> None:
    """Set the epoch (from 1) of the next `iter(loader)`."""
    _sampler(loader).epoch = epoch


def batch_sizes(loader: DataLoader[Batch]) -> list[int]:
    """The number of images in each whole batch of an epoch, even if the loader returns parts of batches."""
    return _sampler(loader).sizes()


def slow_way(loader: DataLoader[Batch]) -> str | None:
    """A warning if shared memory has too little room for one batch per worker, else None."""
    dataset, sampler = cast(AugmentedSplit, loader.dataset), _sampler(loader)
    size = sampler.sizes()[0]
    need = loader.num_workers * len(range(size)[sampler.part(size)]) * dataset.images[:1].nbytes
    room = shared_room()
    if need <= room:
        return None
    return (
        f"warning: {SHARED} has {room / 2**20:.1f} MiB free, but one batch per worker takes {need / 2**20:.1f} MiB. "
        f"Batches go through slower pipes instead. {MORE_SHM}"
    )


def _sampler(loader: DataLoader[Batch]) -> ShuffledBatches:
    sampler = loader.batch_sampler
    assert isinstance(sampler, ShuffledBatches)
    return sampler


class _Call:
    """An object that unpickles to `function(argument)`."""

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self.function, self.argument = function, argument

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return self.function, (self.argument,)


def _hand_over(batch: Batch) -> Any:
    """Pack a batch for the transfer from a worker to the loader: in shared memory if there is room, else for a pipe.

    The worker pickles the batch here. By default a thread of the queue does this. It drops a batch that it cannot
    pickle (no room, no file descriptor left), and the loader waits for it for ever. A batch of 38 MB takes 130 ms
    through the pipe and 15 ms through shared memory.
    """
    worker = get_worker_info()
    if worker is None:
        return batch
    needed = sum(tensor.nbytes + PAGE for tensor in batch)
    # Require room for all workers: another worker may allocate between this check and our allocation, and each failed
    # allocation leaves an empty file in /dev/shm.
    if shared_room() >= worker.num_workers * needed:
        try:
            return _Call(pickle.loads, bytes(ForkingPickler.dumps(batch)))
        except (OSError, RuntimeError):
            pass
    return tuple(_Call(torch.from_numpy, tensor.numpy()) for tensor in batch)


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)  # a thread pool per worker would compete for the cores, and may hang after a fork
    leave_stops_to_the_parent()
