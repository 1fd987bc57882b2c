"""Reads the CIFAR-10 Python archive. Its batches are pickles, which this module unpickles without running code."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from src import artifacts
from src.data.images import fit
from src.data.prepared import Split
from src.data.raw import RawData
from src.data.sources import archive
from src.data.sources.cifar10 import DIGESTS
from src.data.sources.digests import mismatch
from src.errors import UserError
from src.params import Data

SIDE = 32
BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}

# Everything that the batches refer to: arrays, and byte strings of Python 2.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy._core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy", "ndarray"): "numpy",
    ("numpy", "dtype"): "numpy",
    ("_codecs", "encode"): "_codecs",
}


class RestrictedUnpickler(pickle.Unpickler):
    """Rejects every class and function except those that an array consists of."""

    def find_class(self, module: str, name: str) -> Any:
        """Return `module.name`. Raises UnpicklingError if it is not allowed."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a CIFAR batch")
        return super().find_class(_ALLOWED[module, name], name)


def read(path: Path, data: Data) -> RawData:
    """Read the images of the archive. Raises UserError if it is not the official one."""
    if problem := mismatch(path, DIGESTS):
        raise UserError(f"{path} has changed since its download: {problem}. {artifacts.cure(path, 'download')}")
    batches = unpack(path)
    classes = [name.decode() for name in batches["batches.meta"][b"label_names"]]
    train, test = (_split([batches[name] for name in names], data.size) for names in BATCHES.values())
    return RawData(train, test, classes)


def unpack(path: Path) -> dict[str, dict[bytes, Any]]:
    """Unpickle every batch of the archive into a mapping, by the name of the batch. Verify the digests first."""
    batches = {}
    for member, content in archive.members(path):
        name = member.rpartition("/")[2]
        if name.endswith("batch") or "batch_" in name or name == "batches.meta":
            batches[name] = RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
    return batches


def _split(batches: list[dict[bytes, Any]], size: int) -> Split:
    flat = np.concatenate([batch[b"data"] for batch in batches])  # (N, 3072): all red, all green, all blue
    images = np.ascontiguousarray(flat.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))  # (N, 32, 32, 3)
    labels = np.concatenate([np.asarray(batch[b"labels"], np.int64) for batch in batches])
    return Split(images if size == SIDE else _resized(images, size), labels)


def _resized(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    bar = tqdm(images, desc=f"resizing to {size}", unit=" images", delay=1, leave=False)
    return np.stack([fit(Image.fromarray(image), size) for image in bar])
