"""Cropping, resizing and refusing images. tests/data/encodings.py holds the pixels of each encoding."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from src.data.images import decode
from src.errors import UserError


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_right_size_is_untouched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels)), 16), pixels)


def test_central_square_is_kept() -> None:
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = 200  # the centre; the sides stay black
    assert (decode(encoded(Image.fromarray(pixels)), 16) == 200).all()


def test_float_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UserError, match="finite"):
        decode(encoded(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF"), 16)


def test_large_jpeg_is_reduced_truly() -> None:
    ramp = np.tile(np.linspace(0, 255, 800).astype(np.uint8), (800, 1))
    small = decode(encoded(Image.fromarray(ramp), "JPEG", quality=95), 16)[..., 0].astype(float)
    np.testing.assert_allclose(small.mean(axis=0), (np.arange(16) + 0.5) * 255 / 16, atol=2)


def test_what_is_no_image_is_refused() -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")
    with pytest.raises(UserError, match="not a supported image format"):
        decode(b"hello", 16)
    with pytest.raises(UserError, match="truncated"):
        decode(whole[: len(whole) // 2], 16)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_bomb_is_refused(side: int) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(UserError, match=r"pixels"):
        decode(bomb, 16)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00", b"\xff\xd8\xff"])
)
def test_any_bytes_are_an_image_or_a_user_error(content: bytes, magic: bytes) -> None:
    with contextlib.suppress(UserError):
        assert decode(magic + content, 16).shape == (16, 16, 3)
