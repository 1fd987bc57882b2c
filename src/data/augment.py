"""Any Albumentations transforms, image by image; every draw is a function of (seed, epoch, image index).

The only file that imports Albumentations, which takes seconds. It is called without `Compose`: `Compose(seed=...)`
hands each transform a generator of the same seed, so that crop, flip and hole move together, and each loader worker
repeats the others' draws.
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

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it calls home on import
import albumentations

# What these transforms take from params.yaml is the path of a file to read, or code to run.
REFUSED = ("FDA", "HistogramMatching", "Lambda", "PixelDistributionAdaptation", "TextImage")
TRIALS = 16  # draws that `check_transforms` tries: enough to meet both sides of a gate of p = 0.5

_NO_DRAWS = np.zeros(4, np.uint64)


class AlternatingFlip(albumentations.HorizontalFlip):  # type: ignore[misc]
    """Mirrors each image in every second epoch, see `alternating_draws`."""

    def __init__(self) -> None:
        super().__init__(p=1.0)  # `ImageAugmenter` calls it in every second epoch


class ImageAugmenter:
    """Applies a list of transforms to images, one after the other.

    One counter-based generator (Philox) stands at counter (epoch, index) under the key `seed` before each image, so
    draws depend on nothing else: not on the batch, the order or the worker. The transforms of an image share that
    stream one after the other, which makes them independent of each other.
    """

    one_by_one = True

    def __init__(self, transforms: Sequence[Mapping[str, Any]], size: int, seed: int) -> None:
        """Build `transforms` for (size, size, 3) images; UserError if wrong."""
        self.size = size
        self.seed = seed
        self._generator = np.random.Generator(np.random.Philox(key=0))
        self._random = random.Random(0)
        self._flips = lru_cache(maxsize=1)(self._draw_flips)  # of one epoch
        self._transforms = [_build(position, entry) for position, entry in enumerate(transforms)]
        for transform in self._transforms:
            transform.set_random_state(self._generator, self._random)

    def __call__(self, images: torch.Tensor, indices: torch.Tensor, epoch: int) -> torch.Tensor:
        """Rows `indices` (B,) of the split's `images`, uint8 (N, S, S, 3), augmented for `epoch`: (B, S, S, 3)."""
        chosen = images.index_select(0, indices).numpy()
        flips = self._flips(len(images), epoch)
        for row, index in enumerate(indices.tolist()):
            self._stand_at(epoch, index)
            chosen[row] = self._apply(chosen[row], flips[index])
        return torch.from_numpy(chosen)

    def _draw_flips(self, count: int, epoch: int) -> list[bool]:
        return list(alternating_draws(count, self.seed, epoch) < 0.5)

    def _stand_at(self, epoch: int, index: int) -> None:
        # Setting the state takes 3 µs, a new generator 11 µs.
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
            except Exception as error:  # whatever a transform raises, the person must hear which one it was
                key = _key(position, type(transform).__name__)
                raise wrong_value(key, f"fails on a {image.shape} image: {error}") from error
        if image.shape != (self.size, self.size, 3) or image.dtype != np.uint8:
            raise wrong_value(
                "augment",
                f"turns a ({self.size}, {self.size}, 3) uint8 image into {image.shape} {image.dtype}; "
                "end the list with a crop or resize to `size`, and leave scaling to the pipeline",
            )
        return image


def check_transforms(transforms: Sequence[Mapping[str, Any]], size: int) -> None:
    """Build the transforms and try them on noise; UserError names the transform, the argument and what is allowed."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    images, indices = torch.from_numpy(noise).expand(TRIALS, -1, -1, -1), torch.arange(TRIALS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augmenter = ImageAugmenter(fill_size(transforms, size), size, seed=0)
        first, second = (augmenter(images, indices, epoch=1) for _ in range(2))
    if not torch.equal(first, second):
        raise wrong_value("augment", "holds a transform whose draws do not follow the seed")


def _build(position: int, entry: Mapping[str, Any]) -> Any:
    """One transform from {'name': ..., argument: value, ...}."""
    known = {name: value for name, value in vars(albumentations).items() if _is_transform(value)}
    known[AlternatingFlip.__name__] = AlternatingFlip
    names = sorted(known)
    if "name" not in entry:
        raise wrong_value(f"augment[{position}]", "has no `name` of an Albumentations transform")
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
            raise wrong_value(key, f"has no argument {argument}{hint}; allowed: {', '.join(allowed)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Albumentations falls back to its defaults with a warning
            return transform(**arguments)
    except (TypeError, ValueError, Warning) as error:
        raise wrong_value(key, f"does not take these arguments: {_reason(error)}") from None


def _is_transform(value: object) -> bool:
    bases = {albumentations.BasicTransform, albumentations.DualTransform, albumentations.ImageOnlyTransform}
    if not isinstance(value, type) or not issubclass(value, albumentations.BasicTransform):
        return False
    return value not in bases and value.__name__ not in REFUSED


def _reason(error: Exception) -> str:
    """What Albumentations objects to, without pydantic's frame."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return str(error)
    wrong = {".".join(str(part) for part in e["loc"][:1]): e["msg"] for e in cause.errors()}
    return "; ".join(f"{argument}: {message}" if argument else message for argument, message in wrong.items())


def _key(position: int, name: str) -> str:
    return f"augment[{position}] ({name})"
