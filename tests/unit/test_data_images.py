"""Any image becomes (S, S, 3) RGB, by hand-computed pixels."""

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


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (16, 16), 77), (77, 77, 77)),
        (Image.new("1", (16, 16), 1), (255, 255, 255)),
        (Image.new("RGBA", (16, 16), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (16, 16), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("LA", (16, 16), (10, 0)), (255, 255, 255)),
        (Image.new("RGB", (16, 16), (9, 99, 199)).quantize(4), (9, 99, 199)),
        (Image.fromarray(np.full((16, 16), 257 * 100, np.uint16)), (100, 100, 100)),
    ],
    ids=["grey", "bit", "transparent", "opaque", "grey-alpha", "palette", "16-bit"],
)
def test_modes(image: Image.Image, expected: tuple[int, int, int]) -> None:
    decoded = decode(encoded(image), 16)
    assert decoded.shape == (16, 16, 3)
    assert decoded.dtype == np.uint8
    assert (decoded == expected).all()


def test_cmyk_and_float() -> None:
    cmyk = decode(encoded(Image.new("CMYK", (20, 20), (0, 0, 0, 0)), "JPEG"), 16)
    assert (cmyk == 255).all()
    ramp = decode(encoded(Image.fromarray(np.linspace(0, 5, 256, dtype=np.float32).reshape(16, 16)), "TIFF"), 16)
    assert (int(ramp.min()), int(ramp.max())) == (0, 255)
    with pytest.raises(UserError, match="finite"):
        decode(encoded(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF"), 16)


def test_orientation_is_applied() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: shown turned by 90 degrees clockwise
    turned = decode(encoded(Image.fromarray(pixels), exif=exif), 16)
    assert turned[:8].mean() == 255
    assert turned[8:].mean() == 0


def test_large_jpeg_is_reduced_truly() -> None:
    ramp = np.tile(np.linspace(0, 255, 800).astype(np.uint8), (800, 1))
    small = decode(encoded(Image.fromarray(ramp), "JPEG", quality=95), 16)[..., 0].astype(float)
    np.testing.assert_allclose(small.mean(axis=0), (np.arange(16) + 0.5) * 255 / 16, atol=2)


def test_what_is_no_image_is_refused() -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")
    with pytest.raises(UserError, match="not an image format"):
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
