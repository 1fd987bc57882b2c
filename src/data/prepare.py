"""Raw data of any source -> the one canonical form: split, statistics, digest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from src.data import cifar_batches, image_folder, shapes
from src.data.prepared import Prepared, Split, digest_of
from src.data.raw import RawData
from src.data.sources.cifar10 import ARCHIVE
from src.data.sources.folder import NAME
from src.data.sources.shapes import SPEC
from src.data.split import drawn, stratified
from src.errors import UserError
from src.params import Data

CHUNK = 4096  # images whose statistics are taken at once
MIN_STD = 1 / 255  # a channel without any variation must not divide by zero

# data.source -> the file in data/raw, and (file, parameters) -> images and labels
READERS: dict[str, tuple[str, Callable[[Path, Data], RawData]]] = {
    "cifar10": (ARCHIVE, cifar_batches.read),
    "folder": (f"{NAME}.*", image_folder.read),
    "shapes": (SPEC, shapes.read),
}


def prepare(raw: Path, data: Data) -> tuple[Prepared, RawData]:
    """Read `raw` (what `download` wrote) as `data.source`; the canonical form, and what was read.

    UserError: too few classes or images, more unreadable files than `data.max_unreadable`.
    """
    pattern, reader = READERS[data.source]
    found = sorted(raw.glob(pattern))
    if len(found) != 1:
        raise UserError(
            f"{raw} does not hold the data of data.source {data.source}. Get it with: dvc repro -f download"
        )
    read = reader(found[0], data)
    train, test = read.train, read.test
    if test is None:
        train, test = _cut(train, data.test_share, data.split_seed, read.classes, "data.test_share")
    val = _rows(train, np.empty(0, np.int64))
    if data.val_share > 0:
        of_none = "data.val_share (0 keeps no validation images)"
        train, val = _cut(train, data.val_share, data.split_seed + 1, read.classes, of_none)
    masks = read.masks
    if data.share < 1:
        # After the splits, and not before: a training image of one share is then a test image of no other.
        seeds = (data.split_seed + number for number in (2, 3, 4))
        parts = (drawn(split.labels, data.share, seed) for split, seed in zip((train, val, test), seeds, strict=True))
        of_train, of_val, of_test = parts
        train, val, test = _rows(train, of_train), _rows(val, of_val), _rows(test, of_test)
        masks = None if masks is None else masks[of_test]
    mean, std = channel_statistics(train.images)
    digest = digest_of([train, val, test], masks, read.classes)
    return Prepared(train, val, test, read.classes, mean, std, data.source, digest, masks), read


def channel_statistics(
    images: npt.NDArray[np.uint8],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and (population) standard deviation per RGB channel of (N, S, S, 3), in units of 0..1; exact."""
    counts = np.zeros((3, 256), np.int64)  # how often a channel has a value
    for start in range(0, len(images), CHUNK):
        for channel in range(3):
            counts[channel] += np.bincount(images[start : start + CHUNK, ..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = (counts @ values) / counts.sum(axis=1)
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)
    std = np.maximum(np.sqrt(variance), MIN_STD)
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))


def _cut(split: Split, share: float, seed: int, classes: list[str], key: str) -> tuple[Split, Split]:
    try:
        kept, cut = stratified(split.labels, share, seed, classes)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    return _rows(split, kept), _rows(split, cut)


def _rows(split: Split, indices: npt.NDArray[np.int64]) -> Split:
    return Split(split.images[indices], split.labels[indices])
