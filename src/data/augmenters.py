"""From `augment` in params.yaml to augmented batches: which way, and by which draws."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from src.data.batch_augment import alternating_draws, augment_batch, steps_of
from src.params import fill_size


class Augmenter(Protocol):
    """Augments chosen images of a split; every draw is a function of (seed, epoch, index)."""

    @property
    def one_by_one(self) -> bool:
        """Whether it is so slow that worker processes pay."""

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Rows `indices` (B,) of the split's `images`, uint8 (N, S, S, 3), augmented for `epoch`: (B, S, S, 3).

        Where it is not `one_by_one`, the images may have a fourth channel, which has no meaning and makes it faster.
        """


class BatchAugmenter:
    """The common transforms, on the device of the images. KeyError, TypeError or ValueError where one is not common."""

    one_by_one = False

    def __init__(self, transforms: Sequence[Mapping[str, Any]], size: int, seed: int) -> None:
        self._steps = steps_of(transforms, size)
        self._seed = seed
        self._table = lru_cache(maxsize=1)(self._draw)  # of one epoch, to which all its batches go back

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        draws = self._table(len(images), epoch, images.device)[indices]
        return augment_batch(self._steps, images.index_select(0, indices), draws)

    def _draw(self, count: int, epoch: int, device: torch.device) -> Tensor:
        """(count, K) float64; a row depends on the seed, the epoch and its position, not on the count."""
        generator = np.random.Generator(np.random.Philox(key=np.array([self._seed, epoch], np.uint64)))
        draws = generator.random((count, sum(step.draws for step in self._steps)))
        column = 0
        for step in self._steps:
            if step.alternates:
                draws[:, column] = alternating_draws(count, self._seed, epoch)
            column += step.draws
        return torch.from_numpy(draws).to(device)


def make_augmenter(transforms: Sequence[Mapping[str, Any]], size: int, seed: int) -> Augmenter:
    """An augmenter of (size, size, 3) images by `augment` of params.yaml.

    By the batch where every transform is common, else image by image with Albumentations; UserError where that, too,
    does not know a transform or its arguments.
    """
    transforms = fill_size(transforms, size)
    try:
        return BatchAugmenter(transforms, size, seed)
    except (KeyError, TypeError, ValueError):
        from src.data.augment import ImageAugmenter  # here: Albumentations takes seconds to import

        return ImageAugmenter(transforms, size, seed)
