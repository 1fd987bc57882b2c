"""Any Albumentations transforms, image by image. Every draw is a function of (seed, epoch, image index).

Only this file imports Albumentations, which takes seconds. It does not use `Compose`: `Compose(seed=...)` gives each
transform a generator with the same seed, which correlates crop, flip and hole, and all loader workers repeat the same
draws.
"""

import inspect
import os
import random
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from src.data.batch_augment import alternating_draws
from src.params import fill_size, nearest, wrong_value

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else Albumentations contacts a server on import
import albumentations

# These transforms would read a file or run code that params.yaml names.
REFUSED = ("FDA", "HistogramMatching", "Lambda", "PixelDistributionAdaptation", "TextImage")
TRIALS = 16  # images that `check_transforms` augments: enough to apply and to skip a transform of p = 0.5

_NO_DRAWS = np.zeros(4, np.uint64)


class AlternatingFlip(albumentations.HorizontalFlip):  # type: ignore[misc]
    """Mirrors each image in every second epoch. See `alternating_draws`."""

    def __init__(self) -> None:
        super().__init__(p=1.0)  # `ImageAugmenter` only calls it in every second epoch


class ImageAugmenter:
    """Applies a list of transforms to each image.

    Before each image, a counter-based generator (Philox) is set to counter (epoch, index) and key `seed`. So the draws
    do not depend on the batch, the order or the worker. The transforms of an image draw from the same stream one after
    the other, so they are independent of each other.
    """

    one_by_one = True

    def __init__(self, transforms: Sequence[Mapping[str, Any]], size: int, seed: int) -> None:
        """Build `transforms` for (size, size, 3) images. Raises UserError if one is wrong."""
        self.size = size
        self.seed = seed
        self._generator = np.random.Generator(np.random.Philox(key=0))
        self._random = random.Random(0)
        self._flips = lru_cache(maxsize=1)(self._draw_flips)  # caches one epoch
        self._transforms = [_build(position, entry) for position, entry in enumerate(transforms)]
        self._alternates = any(isinstance(transform, AlternatingFlip) for transform in self._transforms)
        for transform in self._transforms:
            transform.set_random_state(self._generator, self._random)

    def __call__(self, images: torch.Tensor, indices: torch.Tensor, epoch: int) -> torch.Tensor:
        """Augment rows `indices` (B,) of `images`, uint8 (N, S, S, 3), for `epoch`. Returns (B, S, S, 3)."""
        chosen = images.index_select(0, indices).numpy()
        flips = self._flips(len(images), epoch) if self._alternates else None
        for row, index in enumerate(indices.tolist()):
            self._stand_at(epoch, index)
            chosen[row] = self._apply(chosen[row], flips is not None and flips[index])
        return torch.from_numpy(chosen)

    def _draw_flips(self, count: int, epoch: int) -> list[bool]:
        return list(alternating_draws(count, self.seed, epoch) < 0.5)

    def _stand_at(self, epoch: int, index: int) -> None:
        # Setting the state takes 3 µs. Making a generator takes 11 µs.
        self._generator.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {
                "counter": np.array([0, 0, epoch, index], np.uint64),
                "key": np.array([self.seed, 0], np.uint64),
            },
            "buffer": _NO_DRAWS,
            "buffer_pos": len(_NO_DRAWS),
            "has_uint32": 0,
            "uinteger": 0,
        }
        self._random.seed(self.seed << 128 | epoch << 64 | index)

    def _apply(self, image: npt.NDArray[np.uint8], mirror: bool) -> npt.NDArray[np.uint8]:
        for position, transform in enumerate(self._transforms):
            if isinstance(transform, AlternatingFlip) and not mirror:
                continue
            try:
                image = transform(image=image)["image"]
            except Exception as error:  # whatever a transform raises, the message must name the transform
                key = _key(position, type(transform).__name__)
                raise wrong_value(key, f"fails on an image of shape {image.shape}: {error}") from error
        if image.shape != (self.size, self.size, 3) or image.dtype != np.uint8:
            raise wrong_value(
                "augment",
                f"turns a ({self.size}, {self.size}, 3) uint8 image into {image.shape} {image.dtype}. "
                "End the list with a crop or resize to `size`, and leave normalisation to the pipeline",
            )
        return image


def check_transforms(transforms: Sequence[Mapping[str, Any]], size: int) -> None:
    """Build the transforms and try them on noise. Raises UserError if one is wrong."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    images, indices = torch.from_numpy(noise).expand(TRIALS, -1, -1, -1), torch.arange(TRIALS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augmenter = ImageAugmenter(fill_size(transforms, size), size, seed=0)
        first, second = (augmenter(images, indices, epoch=1) for _ in range(2))
    if not torch.equal(first, second):
        raise wrong_value("augment", "has a transform that gives different results for the same seed. Remove it")


def _build(position: int, entry: Mapping[str, Any]) -> Any:
    """Build one transform from {'name': ..., argument: value, ...}."""
    known = {name: value for name, value in vars(albumentations).items() if _is_transform(value)}
    known[AlternatingFlip.__name__] = AlternatingFlip
    names = sorted(known)
    if "name" not in entry:
        raise wrong_value(f"augment[{position}]", "has no `name`. Add the name of an Albumentations transform")
    name = str(entry["name"])
    key = _key(position, name)
    if name not in names:
        raise wrong_value(key, f"is not an Albumentations transform{nearest(name, names)}")
    transform = known[name]
    arguments = {k: v for k, v in entry.items() if k != "name"}
    allowed = [parameter for parameter in inspect.signature(transform.__init__).parameters if parameter != "self"]
    for argument in arguments:
        if argument not in allowed:
            hint = nearest(argument, allowed)
            raise wrong_value(key, f"has no argument {argument}{hint}. Allowed: {', '.join(allowed)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # on a wrong argument, Albumentations warns and uses its default
            return transform(**arguments)
    except (TypeError, ValueError, Warning) as error:
        raise wrong_value(key, f"has a wrong argument: {_reason(error)}") from None


def _is_transform(value: object) -> bool:
    bases = {albumentations.BasicTransform, albumentations.DualTransform, albumentations.ImageOnlyTransform}
    if not isinstance(value, type) or not issubclass(value, albumentations.BasicTransform):
        return False
    return value not in bases and value.__name__ not in REFUSED


def _reason(error: Exception) -> str:
    """The reason of an error from Albumentations, without pydantic's frame."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return str(error)
    wrong = {".".join(str(part) for part in e["loc"][:1]): e["msg"] for e in cause.errors()}
    return "; ".join(f"{argument}: {message}" if argument else message for argument, message in wrong.items())


def _key(position: int, name: str) -> str:
    return f"augment[{position}] ({name})"
