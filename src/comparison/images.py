"""Select the test images whose maps are compared and shown side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from src.data.prepared import Prepared

Indices = npt.NDArray[np.int64]

SEED = 0  # of all draws, so that the same runs always come with the same images
MOST, FEWEST = 200, 40  # number of images whose maps are compared
PIXELS = MOST * 64 * 64  # of all these images together, so large images are fewer
BOTH, ONLY = 3, 2  # rows per reason


@dataclass(frozen=True, eq=False)
class Sample:
    """The N test images whose maps are compared. They are the same in every comparison of a data set."""

    indices: Indices  # (N,), sorted
    images: npt.NDArray[np.uint8]  # (N, S, S, 3)
    files: Sequence[str]  # (N,) paths in the user's folder or archive; '' for an image without a file


@dataclass(frozen=True)
class ShownImage:
    """A test image and the reason for showing it."""

    index: int
    why: str


def draw(total: int, size: int) -> Indices:
    """Sorted indices of the test images whose maps are compared. `size` is the side of an image in pixels."""
    count = max(FEWEST, min(MOST, PIXELS // size**2))
    return np.sort(np.random.default_rng(SEED).permutation(total)[:count])


def draw_sample(data: Prepared, files: Sequence[str]) -> Sample:
    """The sample of the test images of `data`. `files` are the paths of all test images, or () if they have none."""
    indices = draw(len(data.test), data.size)
    names = [files[index] for index in indices] if files else [""] * len(indices)
    return Sample(indices, np.ascontiguousarray(data.test.images[indices]), names)


def derangement(count: int) -> Indices:
    """For each of `count` images (2 or more) another image, each used once. It gives the chance level of agreement."""
    order = np.random.default_rng(SEED).permutation(count)
    partners = np.empty(count, dtype=np.int64)
    partners[order] = np.roll(order, -1)  # one cycle through all images, so no image is its own partner
    return partners


def by_answers(indices: Indices, right: npt.NDArray[np.bool_], names: Sequence[str]) -> list[ShownImage]:
    """Draw images from `indices` (N,) that all of the R runs `names` get wrong, or only one. `right` is (R, N)."""
    rng = np.random.default_rng(SEED)
    wrong = ~right
    kinds = [("both wrong" if len(names) == 2 else "all wrong", wrong.all(axis=0), BOTH)]
    kinds += [
        (f"only {name} wrong", wrong[i] & (wrong.sum(axis=0) == 1), BOTH if len(names) == 2 else ONLY)
        for i, name in enumerate(names)
    ]
    return [
        ShownImage(int(index), why)
        for why, there, count in kinds
        for index in np.sort(rng.permutation(indices[there])[:count])
    ]


def by_maps(indices: Indices, agreement: npt.NDArray[np.float64], shown: Sequence[ShownImage]) -> list[ShownImage]:
    """The images of `indices` (N,) with the lowest `agreement` (N,), lowest first, except those already `shown`."""
    taken = {row.index for row in shown}
    order = indices[np.argsort(agreement, kind="stable")]
    return [ShownImage(int(index), "maps disagree most") for index in order if index not in taken][:BOTH]
