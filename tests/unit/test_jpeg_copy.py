"""The JPEG copy of CIFAR-10 reads as a folder of images with the same classes, splits and, nearly, pixels."""

from pathlib import Path

import numpy as np

from benchmarks.harness import params_with
from benchmarks.jpeg_copy import write
from src.data.prepare import prepare
from src.data.prepared import Split
from src.data.raw import RawData
from src.data.sources import FETCHERS


def test_the_copy_is_read_as_a_folder(tmp_path: Path) -> None:
    ramp = np.linspace(0, 200, 32).astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (32, 32, 3))
    labels = np.array([0, 1] * 5)
    images = np.stack([image + 10 * label + position for position, label in enumerate(labels)]).astype(np.uint8)
    write(RawData(Split(images, labels), Split(images[:4], labels[:4]), ["cat", "dog"]), tmp_path / "copy.tar.xz")
    changes = {"data.source": "folder", "data.path": str(tmp_path / "copy.tar.xz"), "data.val_share": 0.0}
    data = params_with(changes).data
    FETCHERS["folder"](data, tmp_path / "raw")
    ready = prepare(tmp_path / "raw", data)[0]
    assert (ready.classes, len(ready.train), len(ready.test)) == (["cat", "dog"], 10, 4)
    order = np.argsort(labels, kind="stable")  # by class, then by number
    assert (np.sort(ready.train.labels) == labels[order]).all()
    assert np.abs(ready.train.images.astype(int) - images[order]).max() < 8
