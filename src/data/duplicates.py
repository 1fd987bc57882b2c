"""Find images with the same pixels within and across splits."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from src.data.prepared import SPLITS, Split
from src.data.split import Indices

Pixels = npt.NDArray[np.uint8]
Prints = npt.NDArray[np.uint64]

EXAMPLES = 5  # pictures with listed copies
COPIES = 4  # listed copies per picture


class Part(NamedTuple):
    """Images of a future split with their fingerprints."""

    split: Split
    prints: Prints

    def rows(self, indices: Indices) -> "Part":
        """The part with only these images."""
        files = None if self.split.files is None else self.split.files[indices]
        return Part(Split(self.split.images[indices], self.split.labels[indices], files), self.prints[indices])


class Copy(NamedTuple):
    """Location of a picture: split, class, and file name or index in the split."""

    split: str
    label: str
    file: str


@dataclass(frozen=True)
class Duplicates:
    """Pictures that are in two splits or under two labels.

    `train_test` counts test images that are also training images. `train_val` and `val_test` are defined likewise.
    `two_labels` counts images with a copy under another label, and `images` counts all images of these kinds with their
    copies. `examples` holds one copy per split and label for some of the pictures.
    """

    train_test: int
    train_val: int
    val_test: int
    two_labels: int
    images: int
    examples: list[list[Copy]]

    def record(self) -> dict[str, Any]:
        """The counts and examples for metrics/data.json."""
        counts = {name: getattr(self, name) for name in ("train_test", "train_val", "val_test", "two_labels")}
        return {**counts, "examples": [[copy._asdict() for copy in copies] for copies in self.examples]}

    def lines(self) -> list[str]:
        """The counts and examples as lines. [] if there are no duplicates."""
        kinds = {
            "test images that are also training images": self.train_test,
            "validation images that are also training images": self.train_val,
            "test images that are also validation images": self.val_test,
            "images with a copy under another label": self.two_labels,
        }
        pictures = [", ".join(f"{c.split} {c.file} ({c.label})" for c in copies) for copies in self.examples]
        return [f"{what}: {count:,}" for what, count in kinds.items() if count] + [
            f"the same picture: {copies}" for copies in pictures
        ]


def find_duplicates(parts: Sequence[Part], classes: Sequence[str]) -> Duplicates:
    """Find duplicates among all images of the three splits `parts` (train, val, test)."""
    first = first_copies(np.concatenate([part.prints for part in parts]))
    copied = np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1)  # (K,)
    origins, group = np.unique(first[copied], return_inverse=True)  # (G,), (K,)
    starts = np.cumsum([0, *(len(part.split) for part in parts)])
    split = np.searchsorted(starts, copied, side="right") - 1  # (K,)
    label = np.concatenate([part.split.labels for part in parts])
    counts = np.bincount(len(parts) * group + split, minlength=len(parts) * len(origins)).reshape(-1, len(parts))
    of_two_labels = np.bincount(group, label[copied] != label[first[copied]], len(origins)) > 0  # (G,)
    found = of_two_labels | ((counts > 0).sum(axis=1) > 1)

    def in_both(one: int, other: int) -> int:
        """The number of images of the split `other` that are also in `one`."""
        return int(counts[counts[:, one] > 0, other].sum())

    def copy(index: int, number: int) -> Copy:
        part, row = parts[number].split, index - int(starts[number])
        file = f"image {row}" if part.files is None else str(part.files[row])
        return Copy(SPLITS[number], classes[label[index]], file)

    def copies(number: int) -> list[Copy]:
        """One copy of a picture per split and label."""
        of_group = np.flatnonzero(group == number)
        _, places = np.unique(len(classes) * split[of_group] + label[copied[of_group]], return_index=True)
        return [copy(int(copied[i]), int(split[i])) for i in of_group[places[:COPIES]]]

    examples = [copies(int(number)) for number in np.flatnonzero(found)[:EXAMPLES]]
    return Duplicates(
        in_both(0, 2),
        in_both(0, 1),
        in_both(1, 2),
        int(counts[of_two_labels].sum()),
        int(counts[found].sum()),
        examples,
    )


def fingerprints(images: Pixels) -> Prints:
    """A 64-bit hash (N,) of the pixels of each image (N, S, S, 3)."""
    digests = (hashlib.blake2b(image, digest_size=8).digest() for image in np.ascontiguousarray(images))
    return np.frombuffer(b"".join(digests), np.uint64)


def first_copies(prints: Prints) -> Indices:
    """For each image (N,), the index of the first image with the same fingerprint, which may be its own."""
    _, first, inverse = np.unique(prints, return_index=True, return_inverse=True)
    return np.asarray(first[inverse])
