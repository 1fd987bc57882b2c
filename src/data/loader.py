"""Batches of augmented training images: the same ones whatever the number of workers."""

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

Keys = tuple[int, npt.NDArray[np.int64]]  # epoch, so that a persistent worker knows it, and indices (B,) in the split
Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 (B, S, S, 3), int64 (B,)

RESIDENT = 0.25  # largest share of a GPU's free memory that images may take; the rest is for the training
PADDED = 2**30  # bytes of images up to which a fourth channel is added to all beforehand, instead of to each batch
PAGE = 4096  # bytes; shared memory is given by pages


class AugmentedSplit(Dataset[Batch]):
    """A split whose batches are augmented at once, on the device where its tensors are."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, augmenter: Augmenter) -> None:
        self.images = images  # perhaps with a fourth channel, see PADDED
        self.labels = labels
        self.augmenter = augmenter

    def __getitems__(self, keys: Keys) -> Batch:
        epoch, chosen = keys
        indices = torch.from_numpy(chosen).to(self.images.device, non_blocking=True)
        return self.augmenter(self.images, indices, epoch), self.labels[indices]


class ShuffledBatches:
    """Keys of the batches of one epoch, in an order drawn from (seed, epoch), or of a part of each batch.

    `part` says which, of so many images; `slice` is all of them. A last batch below `fewest` images is left out when
    there are others: batch norm cannot take statistics of a single one.
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
    """Loader of (uint8 (B, S, S, 3), int64 (B,)), shuffled and augmented by (seed, epoch); epoch 1 at first.

    Of each batch it is the images in `part` of it, see `ShuffledBatches`.

    The batches are made on `device`, from images that stay there, or on the CPU where they are too many. An augmenter
    that goes image by image works on the CPU, in `workers` processes (0: the calling one), which live as long as the
    loader; any other is faster than the way to another process (measured with 32 pixels a side), and has none.
    """
    workers = min(workers, cores()) if augmenter.one_by_one else 0
    if workers:
        try_semaphores(8 + 3 * workers)  # a DataLoader makes as many
    images, labels = to_tensors(split, torch.device("cpu") if augmenter.one_by_one else device)
    if not augmenter.one_by_one and images.nbytes <= PADDED:
        images = F.pad(images, (0, 1))
    return DataLoader(
        AugmentedSplit(images, labels, augmenter),
        batch_sampler=ShuffledBatches(len(split), batch_size, seed, part, fewest),  # type: ignore[arg-type]  # keys need be no list
        num_workers=workers,
        collate_fn=_hand_over,  # type: ignore[arg-type]  # it gets a whole batch, and no list of items
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
    )


def to_tensors(split: Split, device: torch.device) -> Batch:
    """All images and labels of `split`, on `device` where they fit there (see RESIDENT), else on the CPU."""
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    if device.type == "cuda" and images.nbytes > RESIDENT * torch.cuda.mem_get_info(device)[0]:
        return images, labels
    return images.to(device), labels.to(device)


def set_epoch(loader: DataLoader[Batch], epoch: int) -> None:
    """Choose the epoch (from 1) that the next `iter(loader)` goes through."""
    _sampler(loader).epoch = epoch


def batch_sizes(loader: DataLoader[Batch]) -> list[int]:
    """The number of images in each whole batch of an epoch, also where the loader gives a part of them."""
    return _sampler(loader).sizes()


def slow_way(loader: DataLoader[Batch]) -> str | None:
    """A warning for the user if shared memory has too little room for one batch of each worker, else None."""
    dataset, sampler = cast(AugmentedSplit, loader.dataset), _sampler(loader)
    size = sampler.sizes()[0]
    need = loader.num_workers * len(range(size)[sampler.part(size)]) * dataset.images[:1].nbytes
    room = shared_room()
    if need <= room:
        return None
    return (
        f"{SHARED} has {room / 2**20:.1f} MiB free, and one batch of each worker takes {need / 2**20:.1f} MiB. "
        f"Batches take a slower way. {MORE_SHM}"
    )


def _sampler(loader: DataLoader[Batch]) -> ShuffledBatches:
    sampler = loader.batch_sampler
    assert isinstance(sampler, ShuffledBatches)
    return sampler


class _Call:
    """Pickles as a call: unpickling it returns `function(argument)`."""

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self.function, self.argument = function, argument

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return self.function, (self.argument,)


def _hand_over(batch: Batch) -> Any:
    """Pack a batch for the way from a worker to the loader: in shared memory if there is room, else through a pipe.

    The worker pickles it here. By default a thread of the queue does, and drops a batch that it cannot pickle (no room,
    no file descriptor left), while the loader waits for it for ever. A batch of 38 MB takes 130 ms through the pipe and
    15 ms through shared memory.
    """
    worker = get_worker_info()
    if worker is None:
        return batch
    needed = sum(tensor.nbytes + PAGE for tensor in batch)
    # Room for all workers: another one may allocate between this look and our allocation, and each allocation that
    # fails leaves an empty file in /dev/shm.
    if shared_room() >= worker.num_workers * needed:
        try:
            return _Call(pickle.loads, bytes(ForkingPickler.dumps(batch)))
        except (OSError, RuntimeError):
            pass
    return tuple(_Call(torch.from_numpy, tensor.numpy()) for tensor in batch)


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)  # a pool of threads in each worker fights over the cores, and may hang after a fork
    leave_stops_to_the_parent()
