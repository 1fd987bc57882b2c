"""Batches of augmented training images: the same ones whatever the number of workers."""

from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from src.data.augment import Augmenter
from src.data.prepared import Split
from src.data.workers import leave_stops_to_the_parent

Key = tuple[int, int]  # (epoch, index in the split): so a persistent worker, too, knows the epoch
Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 (B, S, S, 3), int64 (B,)

T = TypeVar("T")


class AugmentedSplit(Dataset[Batch]):
    """A split whose batches are augmented at once."""

    def __init__(self, split: Split, augmenter: Augmenter) -> None:
        self.split = split
        self.augmenter = augmenter

    def __getitems__(self, keys: list[Key]) -> Batch:
        """The batch of these keys, which share their epoch."""
        epoch = keys[0][0]
        indices = np.array([index for _, index in keys], np.int64)
        images = self.augmenter(self.split.images[indices], indices, epoch)
        return torch.from_numpy(images), torch.from_numpy(self.split.labels[indices])


class ShuffledBatches:
    """Keys of the batches of one epoch, in an order drawn from (seed, epoch).

    A last batch of a single image is left out when there are others: batch norm cannot take statistics of it.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        self.images = images if images % batch_size != 1 or images < 2 else images - 1
        self.population = images
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 1

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        order = np.random.default_rng([self.seed, epoch]).permutation(self.population)[: self.images].tolist()
        for start in range(0, self.images, self.batch_size):
            yield [(epoch, index) for index in order[start : start + self.batch_size]]


def train_loader(split: Split, augmenter: Augmenter, *, batch_size: int, seed: int, workers: int) -> DataLoader[Batch]:
    """Loader of (uint8 (B, S, S, 3), int64 (B,)), shuffled and augmented by (seed, epoch); epoch 1 at first.

    `workers` processes augment (0: the calling one); they live as long as the loader.
    """
    return DataLoader(
        AugmentedSplit(split, augmenter),
        batch_sampler=ShuffledBatches(len(split), batch_size, seed),
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
    )


def set_epoch(loader: DataLoader[Batch], epoch: int) -> None:
    """Choose the epoch (from 1) that the next `iter(loader)` goes through."""
    sampler = loader.batch_sampler
    assert isinstance(sampler, ShuffledBatches)
    sampler.epoch = epoch


def _as_it_is(batch: T) -> T:
    return batch


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)  # a pool of threads in each worker fights over the cores, and may hang after a fork
    leave_stops_to_the_parent()
