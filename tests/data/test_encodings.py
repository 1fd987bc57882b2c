"""Pixels do not depend on the container: a table of encodings, and the same greys in all of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from src.data import image_folder
from src.data.images import decode, decode_with_peak
from tests.data.encodings import CONTAINERS, ENCODINGS, SIDE, Ints, columns, pgm, png, thirds, tiff
from tests.unit.data_helpers import parameters, write_folder, write_tar

EVERY_GREY = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize("name", ENCODINGS)
def test_table(name: str) -> None:
    encoding = ENCODINGS[name]
    pixels, peak = decode_with_peak(encoding.content, SIDE)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, encoding.pixels, rtol=0, atol=encoding.within)
    assert peak == encoding.peak


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_grey_is_the_same_in_every_container(name: str) -> None:
    decoded = decode(CONTAINERS[name](EVERY_GREY), 16).astype(int)
    assert abs(decoded - EVERY_GREY[..., None]).max() <= 1


def test_a_folder_reads_the_table_whatever_the_extensions(tmp_path: Path) -> None:
    files = {f"{label}/{name}.png": encoding.content for label in "ab" for name, encoding in ENCODINGS.items()}
    train = image_folder.read(write_tar(tmp_path / "x.tar", files), parameters()).train
    assert len(train.images) == 2 * len(ENCODINGS)
    for name, image in zip(train.files, train.images, strict=True):
        encoding = ENCODINGS[name[2:-4]]
        np.testing.assert_allclose(image, encoding.pixels, rtol=0, atol=encoding.within)


# The note about a smaller depth


def notes(tmp_path: Path, *contents: bytes) -> list[str]:
    files = {f"{label}/{number}.png": content for label in "ab" for number, content in enumerate(contents)}
    return image_folder.read(write_tar(tmp_path / "x.tar", files), parameters()).notes


@pytest.mark.parametrize(
    ("largest", "shown"), [(200, "0 to 255"), (1_000, "0 to 1023"), (3_000, "0 to 4095"), (4_096, "0 to 16383")]
)
def test_16_bit_files_of_a_smaller_range_are_noted(tmp_path: Path, largest: int, shown: str) -> None:
    dark = png(columns(0, 1, 2, largest), 16, 0)
    (note,) = notes(tmp_path, dark, ENCODINGS["PNG RGB"].content)
    assert str(largest) in note
    assert shown in note


@pytest.mark.parametrize(
    "contents",
    [
        [png(columns(0, 1, 2, 3_000), 16, 0), png(columns(0, 1, 2, 16_384), 16, 0)],  # one reaches beyond 14 bits
        [png(thirds(255), 8, 0)],
        [pgm(columns(0, 1, 2, 3_000), 4_095)],
        [png(columns(0, 0, 0, 0), 16, 0)],
    ],
    ids=["beyond", "8 bits", "declared", "black"],
)
def test_other_sets_are_not_noted(tmp_path: Path, contents: list[bytes]) -> None:
    assert notes(tmp_path, *contents) == []


def test_the_command_of_the_note_rescales_the_files(tmp_path: Path) -> None:
    samples: Ints = thirds(4_095)
    files = {"1.png": png(samples, 16, 0), "2.pgm": pgm(samples, 65_535), "3.TIF": tiff(samples, 16)}
    others = {"4.png": ENCODINGS["PNG RGB"].content, "5.txt": b"text", "6.png": png(thirds(65_535), 16, 0)}
    (note,) = notes(tmp_path, *files.values())
    folder = write_folder(tmp_path / "images" / "of a class", files | others)
    code = note.split('"')[1]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "images")], check=True)
    for name in files:
        np.testing.assert_array_equal(decode((folder / name).read_bytes(), SIDE), ENCODINGS["PNG 16 bits"].pixels)
    for name, content in others.items():
        assert (folder / name).read_bytes() == content
