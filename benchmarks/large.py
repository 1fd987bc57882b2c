"""What images of ImageNet's kind cost: to decode, to cut, and to read from a disk when they do not fit into memory."""

import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.harness import Row, Settings, median_seconds

PHOTO = (500, 375)  # pixels, about the mean of ImageNet's
BYTES = 110_000  # of such a file: 138 GB / 1,281,167 images
SIDE = 224
SHARD = 256  # images that lie one after the other in a file and are read at once


def decode(settings: Settings) -> list[Row]:
    """One core: JPEG files to squares of 224 pixels as `prepare` makes them, against copies of such squares."""
    rng = np.random.default_rng(0)
    files = [photo(rng) for _ in range(4 if settings.smoke else 32)]
    squares = rng.integers(0, 256, (len(files), SIDE, SIDE, 3), np.uint8)
    decoded = rate(lambda: [square(file) for file in files], len(files), settings)
    drafted = rate(lambda: [square(file, draft=True) for file in files], len(files), settings)
    copied = rate(lambda: [image.copy() for image in squares], len(files), settings)
    size = np.mean([len(file) for file in files]) / 1000
    note = f"{PHOTO[0]}x{PHOTO[1]}, {size:.0f} kB, to {SIDE}x{SIDE}, one core"
    return [
        Row("decode and cut a JPEG / with libjpeg's half size", decoded, drafted, "images/s", None, note=note),
        Row("decode and cut a JPEG / copy a prepared image", decoded, copied, "images/s", None, note=note),
    ]


def read(settings: Settings) -> list[Row]:
    """Prepared images from a disk whose cache is empty: one by one in random order, against whole shards."""
    size = 16 if settings.smoke else SHARD
    count = 40 * size
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images"
        image = np.random.default_rng(0).integers(0, 256, (size, SIDE, SIDE, 3), np.uint8)
        with file.open("wb") as out:
            for _ in range(count // size):
                out.write(image.tobytes())
            out.flush()
            os.fsync(out.fileno())
        one_by_one, shards = [], []
        for repeat in range(settings.repeats):
            rng = np.random.default_rng(repeat)
            forget(file)
            one_by_one.append(timed(file, count, rng.permutation(count)[: count // 4], 1))
            forget(file)
            shards.append(timed(file, count, rng.permutation(count // size), size))
    cold, whole = float(np.median(one_by_one)), float(np.median(shards))
    note = f"{count:,} images of {SIDE}x{SIDE} in one file, {count * SIDE * SIDE * 3 / 1e9:.1f} GB; shards of {size}"
    return [
        Row("read from the disk in random order / in whole shards", cold, whole, "images/s", None, note=note),
        Row("bytes so read", cold * SIDE**2 * 3 / 1e6, whole * SIDE**2 * 3 / 1e6, "MB/s", None),
    ]


def photo(rng: np.random.Generator) -> bytes:
    """A JPEG of a photograph's size: smooth areas, edges and grain, at the quality whose file has about BYTES."""
    width, height = PHOTO
    small = Image.fromarray(rng.integers(0, 256, (height // 25, width // 25, 3), np.uint8))
    smooth = np.asarray(small.resize(PHOTO, Image.Resampling.BICUBIC), np.int16)
    pixels = np.clip(smooth + rng.normal(0, 12, (height, width, 1)), 0, 255).astype(np.uint8)
    best = b""
    for quality in range(95, 30, -5):
        with io.BytesIO() as out:
            Image.fromarray(pixels).save(out, "JPEG", quality=quality)
            best = out.getvalue()
        if len(best) <= BYTES:
            break
    return best


def square(file: bytes, draft: bool = False) -> npt.NDArray[np.uint8]:
    """(SIDE, SIDE, 3): the shorter side resized, the centre cut out."""
    with Image.open(io.BytesIO(file)) as image:
        if draft:
            image.draft("RGB", (SIDE, SIDE))
        scale = SIDE / min(image.size)
        resized = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - SIDE) // 2, (resized.height - SIDE) // 2
    return np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))


def forget(file: Path) -> None:
    """Ask Linux to drop the file from memory, where it can be asked."""
    if hasattr(os, "posix_fadvise"):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(file: Path, count: int, order: npt.NDArray[np.int64], size: int) -> float:
    """Images a second, read `size` at once, in `order`."""
    images = np.memmap(file, np.uint8, "r", shape=(count, SIDE, SIDE, 3))
    start = time.perf_counter()
    total = 0
    for index in order:
        total += len(np.array(images[index * size : (index + 1) * size]))
    return total / (time.perf_counter() - start)


def rate(work: Callable[[], object], images: int, settings: Settings) -> float:
    """Images a second."""
    return images / median_seconds(work, settings.device, settings.repeats)
