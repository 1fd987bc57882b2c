"""Find images with the same pixels, within and across splits."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from src.data.prepared import SPLITS, Split

Pixels = npt.NDArray[np.uint8]
Prints = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

EXAMPLES = 5  # groups of copies that are listed
CHUNK = 256  # images; their products fit into a processor's cache


class Part(NamedTuple):
    """Images on their way to a split, with their fingerprints."""

    split: Split
    prints: Prints

    def rows(self, indices: Indices) -> "Part":
        """The part with these images only."""
        files = None if self.split.files is None else self.split.files[indices]
        return Part(Split(self.split.images[indices], self.split.labels[indices], files), self.prints[indices])


class Copy(NamedTuple):
    """Where a picture was found: split, class, and the name of its file or its index in the split."""

    split: str
    label: str
    file: str


@dataclass(frozen=True)
class Duplicates:
    """Pictures that are in two splits or under two labels.

    `train_test`: test images that are training images too; `train_val` and `val_test` likewise. `two_labels`: images
    with a copy under another label. `images`: all images of these kinds and their copies. `examples`: the copies of
    some of the pictures.
    """

    train_test: int
    train_val: int
    val_test: int
    two_labels: int
    images: int
    examples: list[list[Copy]]

    def record(self) -> dict[str, Any]:
        """For metrics/data.json."""
        counts = {name: getattr(self, name) for name in ("train_test", "train_val", "val_test", "two_labels")}
        return {**counts, "examples": [[copy._asdict() for copy in copies] for copies in self.examples]}

    def lines(self) -> list[str]:
        """What was found, as sentences; [] for nothing."""
        kinds = {
            "test images are also training images": self.train_test,
            "validation images are also training images": self.train_val,
            "test images are also validation images": self.val_test,
            "images have a copy under another label": self.two_labels,
        }
        found = [f"{count:,} {what}" for what, count in kinds.items() if count]
        return found + [
            "the same picture: " + ", ".join(f"{c.split}: {c.file} ({c.label})" for c in copies[:4])
            + (f" and {len(copies) - 4} more" if len(copies) > 4 else "")
            for copies in self.examples
        ]  # fmt: skip


def find_duplicates(parts: Sequence[Part], classes: Sequence[str]) -> Duplicates:
    """Compare all images of the three splits `parts` (train, val, test)."""
    first = first_copies([part.split.images for part in parts], [part.prints for part in parts])
    labels = np.concatenate([part.split.labels for part in parts])
    split_of = np.repeat(np.arange(len(parts)), [len(part.split) for part in parts])
    starts = np.cumsum([0, *(len(part.split) for part in parts)])
    groups: dict[int, list[int]] = {}
    for index in np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1).tolist():
        groups.setdefault(int(first[index]), []).append(index)

    def copy(index: int) -> Copy:
        split, row = parts[split_of[index]].split, index - int(starts[split_of[index]])
        file = f"image {row}" if split.files is None else str(split.files[row])
        return Copy(SPLITS[split_of[index]], classes[labels[index]], file)

    pairs = {(0, 1): 0, (0, 2): 0, (1, 2): 0}
    two_labels, images = 0, 0
    examples: list[list[Copy]] = []
    for members in groups.values():
        splits = split_of[members]
        for one, other in pairs:
            if (splits == one).any():
                pairs[one, other] += int((splits == other).sum())
        label_differs = len(set(labels[members].tolist())) > 1
        two_labels += len(members) if label_differs else 0
        if label_differs or len(set(splits.tolist())) > 1:
            images += len(members)
            if len(examples) < EXAMPLES:
                examples.append([copy(index) for index in members])
    return Duplicates(pairs[0, 2], pairs[0, 1], pairs[1, 2], two_labels, images, examples)


def fingerprints(images: Pixels) -> Prints:
    """A 64-bit number (N,) for each image (N, S, S, 3): equal for equal pixels, rarely for others.

    A sum of products with random odd weights, several times faster than a cryptographic hash.
    """
    words = images.reshape(len(images), -1).view(np.uint64)  # S is a multiple of 8
    weights = np.random.default_rng(0).integers(0, 2**63, words.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    found = np.empty(len(images), np.uint64)
    for start in range(0, len(images), CHUNK):
        found[start : start + CHUNK] = (words[start : start + CHUNK] * weights).sum(axis=1)
    return found


def first_copies(images: Sequence[Pixels], prints: Sequence[Prints]) -> Indices:
    """For each image of all arrays in a row, the index of the first one with the same pixels (its own if none)."""
    every = np.concatenate(prints)
    starts = np.cumsum([0, *map(len, images)])
    first = np.arange(len(every))
    _, inverse, counts = np.unique(every, return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for index in np.flatnonzero(counts[inverse] > 1):
        array = int(np.searchsorted(starts, index, side="right")) - 1
        digest = hashlib.sha256(images[array][index - starts[array]].tobytes()).digest()
        first[index] = seen.setdefault(digest, int(index))
    return first
