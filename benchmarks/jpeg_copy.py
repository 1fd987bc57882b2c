"""CIFAR-10 (JPEG q75 copy): the images of the official archive, encoded again as JPEG of quality 75.

    python -m benchmarks.jpeg_copy cifar-10-python.tar.gz own/cifar10-jpeg.tar.xz

writes train/CLASS/NNNN.jpg and test/CLASS/NNNN.jpg, which `data.source=folder` reads. The copy that the results name
has the same layout and quality. Another version of the JPEG library may give other bytes.
"""

import argparse
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import params_with
from src import artifacts
from src.data.cifar_batches import read
from src.data.raw import RawData
from src.runtime.run import run_command


def write(raw: RawData, file: Path) -> None:
    """Write the training and test images of `raw` into the archive `file`, numbered within each class."""
    assert raw.test is not None  # CIFAR-10 has its own
    with artifacts.atomic(file) as temporary, tarfile.open(temporary, "w:xz") as archive:
        for name, split in (("train", raw.train), ("test", raw.test)):
            for label, class_name in enumerate(raw.classes):
                for number, index in enumerate(np.flatnonzero(split.labels == label)):
                    encoded = io.BytesIO()
                    Image.fromarray(split.images[index]).save(encoded, "JPEG", quality=75)
                    member = tarfile.TarInfo(f"{name}/{class_name}/{number:04}.jpg")
                    member.size = encoded.tell()
                    encoded.seek(0)
                    archive.addfile(member, encoded)


def main() -> None:
    """Read the official archive and write the copy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jpeg_copy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("archive", type=Path, help="the official cifar-10-python.tar.gz")
    parser.add_argument("copy", type=Path, help="the archive to write, such as own/cifar10-jpeg.tar.xz")
    arguments = parser.parse_args()
    write(read(arguments.archive, params_with({}).data), arguments.copy)
    print(arguments.copy)


if __name__ == "__main__":
    run_command(main)
