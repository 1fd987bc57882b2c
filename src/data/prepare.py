"""Conversion of raw data from any source to one canonical form: splits, statistics, digest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from src.data import cifar_batches, image_folder, shapes
from src.data.duplicates import Duplicates, Part, find_duplicates, fingerprints, first_copies
from src.data.prepared import Prepared, Split, digest_of
from src.data.raw import RawData
from src.data.sources.cifar10 import ARCHIVE
from src.data.sources.folder import NAME
from src.data.sources.shapes import SPEC
from src.data.split import drawn, stratified
from src.errors import UserError
from src.params import Data

CHUNK = 4096  # images per step of the statistics
MIN_STD = 1 / 255  # avoids a division by zero for a constant channel

# data.source -> its file in data/raw, and its reader: (file, parameters) -> images and labels
READERS: dict[str, tuple[str, Callable[[Path, Data], RawData]]] = {
    "cifar10": (ARCHIVE, cifar_batches.read),
    "folder": (f"{NAME}.*", image_folder.read),
    "shapes": (SPEC, shapes.read),
}


def prepare(raw: Path, data: Data) -> tuple[Prepared, RawData, Duplicates]:
    """Read the output `raw` of `download` as `data.source`. Return the canonical form, the raw data and its duplicates.

    Raises UserError if there are too few classes or images, if the share of unreadable files exceeds
    `data.max_unreadable`, or if the share of duplicates exceeds `data.max_duplicates`.
    """
    pattern, reader = READERS[data.source]
    found = sorted(raw.glob(pattern))
    if len(found) != 1:
        raise UserError(
            f"{raw} does not contain the data of data.source {data.source}. Get it with: dvc repro -f download"
        )
    read = reader(found[0], data)
    train, test = with_prints(read.train), None if read.test is None else with_prints(read.test)
    if test is None:
        train, test = _cut(train, data.test_share, data.split_seed, read.classes, "data.test_share")
    if read.val is not None:
        val = with_prints(read.val)
    elif data.val_share > 0:
        of_none = "data.val_share (0 keeps no validation images)"
        train, val = _cut(train, data.val_share, data.split_seed + 1, read.classes, of_none)
    else:
        val = train.rows(np.empty(0, np.int64))
    masks = read.masks
    if data.share < 1:
        # After the splits, so that no training image of one share is a test image of another.
        seeds = (data.split_seed + number for number in (2, 3, 4))
        parts = zip((train, val, test), seeds, strict=True)
        of_train, of_val, of_test = (drawn(part.split.labels, data.share, seed) for part, seed in parts)
        train, val, test = train.rows(of_train), val.rows(of_val), test.rows(of_test)
        masks = None if masks is None else masks[of_test]
    duplicates = find_duplicates((train, val, test), read.classes)
    if duplicates.images > data.max_duplicates * (len(train.split) + len(val.split) + len(test.split)):
        raise UserError(
            f"{duplicates.images:,} images are in two splits or under two labels, more than data.max_duplicates "
            f"({data.max_duplicates:g}) allows:\n"
            + "\n".join(f"  {line}" for line in duplicates.lines())
            + "\nRemove the copies from your images, or allow them: -S data.max_duplicates=1.0"
        )
    mean, std = channel_statistics(train.split.images)
    digest = digest_of([train.split, val.split, test.split], masks, read.classes)
    ready = Prepared(train.split, val.split, test.split, read.classes, mean, std, data.source, digest, masks)
    return ready, read, duplicates


def with_prints(split: Split) -> Part:
    """Add the fingerprints of its images to a split."""
    return Part(split, fingerprints(split.images))


def channel_statistics(
    images: npt.NDArray[np.uint8],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Exact mean and population standard deviation per RGB channel of (N, S, S, 3), in units of 0..1."""
    counts = np.zeros((3, 256), np.int64)  # how often each value occurs in each channel
    for start in range(0, len(images), CHUNK):
        for channel in range(3):
            counts[channel] += np.bincount(images[start : start + CHUNK, ..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = (counts @ values) / counts.sum(axis=1)
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)
    std = np.maximum(np.sqrt(variance), MIN_STD)
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))


def _cut(part: Part, share: float, seed: int, classes: list[str], key: str) -> tuple[Part, Part]:
    try:
        kept, cut = stratified(part.split.labels, share, seed, classes, first_copies(part.prints))
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    return part.rows(kept), part.rows(cut)
