"""The canonical form of a data set: uint8 arrays on disk that are memory-mapped when read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from src import artifacts
from src.errors import UserError

SPLITS = ("train", "val", "test")
META = "meta.json"
MASKS = "test_masks.npy"


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 (N, S, S, 3) RGB, possibly memory-mapped, and labels int64 (N,), indices into the class names.

    `files` (N,) has the path of each image in the user's folder or archive, as str. It is None for other sources, or if
    the paths are not loaded.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    files: npt.NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set ready for training.

    `mean` and `std` are those of the training split, per RGB channel, in units of 0..1. `digest` is the SHA-256 of all
    pixels, labels, masks and class names. `test_masks` (N, S, S) is True on the object, and None if objects are not
    known.
    """

    train: Split
    val: Split
    test: Split
    classes: list[str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: str
    digest: str
    test_masks: npt.NDArray[np.bool_] | None

    @property
    def size(self) -> int:
        """Side S of the images in pixels."""
        return int(self.train.images.shape[1])


def digest_of(splits: Sequence[Split], masks: npt.NDArray[np.bool_] | None, classes: list[str]) -> str:
    """SHA-256 (hexadecimal) over class names, shapes, pixels, labels and masks."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for array in [a for split in splits for a in (split.images, split.labels)] + ([] if masks is None else [masks]):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def save(prepared: Prepared, folder: Path) -> None:
    """Write `SPLIT_images.npy`, `SPLIT_labels.npy` and `SPLIT_files.json` into `folder`, and finally `meta.json`.

    If the true masks are known, also write `test_masks.npy`.
    """
    for name in SPLITS:
        split: Split = getattr(prepared, name)
        _write_array(folder / f"{name}_images.npy", split.images)
        _write_array(folder / f"{name}_labels.npy", split.labels)
        files = [] if split.files is None else split.files.tolist()
        artifacts.write_json(folder / f"{name}_files.json", {"files": files})
    if prepared.test_masks is not None:
        _write_array(folder / MASKS, prepared.test_masks)
    meta = {
        "source": prepared.source,
        "digest": prepared.digest,
        "classes": prepared.classes,
        "mean": list(prepared.mean),
        "std": list(prepared.std),
        "size": prepared.size,
        "masks": prepared.test_masks is not None,
    }
    artifacts.write_json(folder / META, meta)


def load(folder: Path = artifacts.PREPARED) -> Prepared:
    """Read what `save` wrote, except the file names. The images are memory-mapped.

    Raises UserError if a file is missing or damaged.
    """
    if not (folder / META).exists():
        raise UserError(f"{folder} contains no prepared data. Make it with: dvc repro prepare")
    try:
        meta = artifacts.read_json(folder / META)
        train, val, test = (_load_split(folder, name, meta) for name in SPLITS)
        masks = np.load(folder / MASKS, mmap_mode="r") if meta["masks"] else None
        if masks is not None and (masks.dtype != np.bool_ or masks.shape != test.images.shape[:3]):
            raise ValueError(f"{MASKS} has {masks.dtype} {masks.shape}")
        return Prepared(
            train=train,
            val=val,
            test=test,
            classes=[str(name) for name in meta["classes"]],
            mean=_triple(meta["mean"]),
            std=_triple(meta["std"]),
            source=str(meta["source"]),
            digest=str(meta["digest"]),
            test_masks=masks,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{folder} is damaged ({error}). {artifacts.cure(folder, 'prepare')}") from None


def load_files(split: str, folder: Path = artifacts.PREPARED) -> list[str]:
    """The path of each image of a split in the user's folder or archive. [] for other sources.

    Raises UserError if the file is missing or damaged.
    """
    try:
        files = [str(name) for name in artifacts.read_json(folder / f"{split}_files.json")["files"]]
        images = len(np.load(folder / f"{split}_labels.npy", mmap_mode="r"))
        if files and len(files) != images:
            raise ValueError(f"{len(files)} file names for {images} {split} images")
        return files
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{folder} is damaged ({error}). {artifacts.cure(folder, 'prepare')}") from None


def _load_split(folder: Path, name: str, meta: dict[str, Any]) -> Split:
    images = np.load(folder / f"{name}_images.npy", mmap_mode="c")  # writable, as PyTorch wants; the file never changes
    labels = np.load(folder / f"{name}_labels.npy")
    size, count = meta["size"], len(meta["classes"])
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise ValueError(f"{name} images have {images.dtype} {images.shape}")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"{name} labels have {labels.dtype} {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        raise ValueError(f"{name} labels are not all in 0..{count - 1}")
    return Split(images, labels)


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write the same bytes as `np.save`, whose error on a full disk does not give the reason."""
    whole = np.ascontiguousarray(array)
    with artifacts.atomic(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        file.write(whole.data)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
