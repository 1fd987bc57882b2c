"""The augmenters: from `augment` in params.yaml to augmented batches."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from src.data.batch_augment import alternating_draws, augment_batch, steps_of
from src.params import fill_size


class Augmenter(Protocol):
    """Augments chosen images of a split. Every draw is a function of (seed, epoch, index)."""

    @property
    def one_by_one(self) -> bool:
        """Whether it works image by image and is slow enough for worker processes to pay off."""

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Augment rows `indices` (B,) of `images`, uint8 (N, S, S, 3), for `epoch`. Returns (B, S, S, 3).

        If it is not `one_by_one`, the images may have a fourth channel. It has no meaning and makes the call faster.
        """


class BatchAugmenter:
    """The common transforms, on the device of the images. Raises KeyError, TypeError or ValueError for any other."""

    one_by_one = False

    def __init__(self, transforms: Sequence[Mapping[str, Any]], size: int, seed: int) -> None:
        self._steps = steps_of(transforms, size)
        self._seed = seed
        self._table = lru_cache(maxsize=1)(self._draw)  # caches one epoch for all its batches

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        draws = self._table(len(images), epoch, images.device)[indices]
        return augment_batch(self._steps, images.index_select(0, indices), draws)

    def _draw(self, count: int, epoch: int, device: torch.device) -> Tensor:
        """Draw (count, K) float64. A row depends on the seed, the epoch and its position, but not on `count`."""
        generator = np.random.Generator(np.random.Philox(key=np.array([self._seed, epoch], np.uint64)))
        draws = generator.random((count, sum(step.draws for step in self._steps)))
        column = 0
        for step in self._steps:
            if step.alternates:
                draws[:, column] = alternating_draws(count, self._seed, epoch)
            column += step.draws
        return torch.from_numpy(draws).to(device)


def make_augmenter(transforms: Sequence[Mapping[str, Any]], size: int, seed: int) -> Augmenter:
    """Make the augmenter of (size, size, 3) images for `augment` of params.yaml.

    It augments whole batches if all transforms are common ones. Otherwise it uses Albumentations, image by image.
    Raises UserError if Albumentations lacks a transform or one of its arguments.
    """
    transforms = fill_size(transforms, size)
    try:
        return BatchAugmenter(transforms, size, seed)
    except (KeyError, TypeError, ValueError):
        from src.data.augment import ImageAugmenter  # imported here, because Albumentations takes seconds

        return ImageAugmenter(transforms, size, seed)
