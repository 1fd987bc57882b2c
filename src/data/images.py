"""Conversion of any image file to uint8 RGB of one size."""

import io
import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from src.errors import UserError, printable

# Pillow reads more formats, but some are programs (EPS runs Ghostscript) or start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")

# A larger image is rejected before its pixels are decoded, because a small file can expand to gigabytes.
MAX_PIXELS = 80_000_000

WHITE = 65_535  # largest value of 16 bits
BLOCK = 1 << 16  # samples to scale at once: they fit in a CPU cache, and no 32-bit copy of a large image is made

MAX_SAMPLE_VALUE = 281  # a TIFF tag
CODESTREAM = b"\xff\x4f\xff\x51"  # JPEG 2000: start marker, and marker of the sizes

# The only 16-bit grey TIFF that Pillow does not open: big-endian, white is zero.
TiffImagePlugin.OPEN_INFO[b"MM", 0, (1,), 1, (16,), ()] = ("I;16B", "I;16B")


class Decoded(NamedTuple):
    """An image as uint8 RGB (S, S, 3), and its largest sample if the file does not declare its depth.

    `peak` is only an int for 16-bit grey with black at zero, if the file declares no smaller depth. If all peaks of a
    data set fit in 12 bits, it probably holds 12-bit values, which look dark.
    """

    pixels: npt.NDArray[np.uint8]
    peak: int | None


def decode(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file into uint8 RGB of shape (size, size, 3).

    The camera's orientation is applied, and transparent images are placed on white. 16-bit grey is scaled to 8 bits by
    the depth that the file declares, else by 16 bits. Other deep grey (signed, 32 bits, floating point) is stretched
    from its darkest to its brightest pixel. An animation contributes its first frame. The central square is then
    resized with antialiasing, which equals resizing the shorter side and cutting out the centre. An image that already
    has the size keeps its pixels.

    Raises UserError if the content is not a complete image or too large. The message gives the reason and no file name.
    """
    return decode_with_peak(content, size).pixels


def decode_with_peak(content: bytes, size: int) -> Decoded:
    """Like `decode`, and also return the largest sample of 16-bit grey."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; whatever matters raises
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(content, size)
    except UserError:
        raise
    except Exception as error:  # decoders raise nearly any exception for damaged content
        reason = "not a supported image format" if "cannot identify" in str(error) else str(error)
        raise UserError(printable(reason or type(error).__name__)) from None


def _decode(content: bytes, size: int) -> Decoded:
    peak = None
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UserError(f"its {width} x {height} pixels exceed the limit of {MAX_PIXELS:,}")
        image.draft(None, (4 * size, 4 * size))  # decodes a large JPEG at a fraction of its size; else no-op
        declared = _declared_white(image, content)
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            grey, peak = _grey_of_16_bits(image, declared)
            rgb = grey.convert("RGB")
        else:
            rgb = _to_rgb(image, content)
    return Decoded(fit(rgb, size), peak)


def fit(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """The central square of an RGB image, resized with antialiasing to (size, size, 3) uint8."""
    if image.size != (size, size):
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.array(image, dtype=np.uint8)


def _declared_white(image: ImageFile.ImageFile, content: bytes) -> int:
    """The value of white that a grey image of more than 8 bits declares. WHITE if it declares none.

    Call it before the image is loaded, because Pillow then drops this information.
    """
    if image.format == "PNG":
        return (1 << _significant_bits(content)) - 1
    if image.format == "PPM":
        arguments = image.tile[0].args  # decoder arguments: raw mode and largest value, or only raw mode for 65535
        return int(arguments[1]) if isinstance(arguments, tuple) and image.mode == "I" else WHITE
    if image.format == "JPEG2000" and image.mode == "I;16":
        depth = content[content.index(CODESTREAM) + 42] & 0x7F  # minus one
        return min((2 << depth) - 1, WHITE)
    if isinstance(image, TiffImageFile) and image.mode.startswith("I;16"):
        largest = image.tag_v2.get(MAX_SAMPLE_VALUE, (WHITE,))
        # Some programs write the largest value of the image into this tag. Scaling by it would change the brightness
        # from image to image, so the tag only counts if it is the largest value of some depth.
        depths = {(1 << depth) - 1 for depth in range(8, 17)}
        declared = int(largest[0]) if largest[0] in depths else WHITE
        return min(declared, (1 << int(image.tag_v2[TiffImagePlugin.BITSPERSAMPLE][0])) - 1)
    return WHITE


def _significant_bits(png: bytes) -> int:
    """The first value of the sBIT chunk of a PNG, or 16 if there is none."""
    at = 8
    while (kind := png[at + 4 : at + 8]) not in (b"IDAT", b""):
        if kind == b"sBIT":
            return min(max(png[at + 8], 1), 16)
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return 16


def _stored_white(image: Image.Image, samples: npt.NDArray[np.integer], declared: int) -> int:
    """The value of white in the samples that Pillow returns for 16-bit grey."""
    missing = 16 - declared.bit_length()
    if image.format == "PPM":
        return WHITE  # Pillow has scaled the samples
    if image.format == "JPEG2000":
        return declared << missing  # Pillow has shifted the samples
    if samples.max() > declared:
        return WHITE  # a PNG scaled to 16 bits, as the specification requires, or a wrong declaration
    # The specification requires scaled samples even if sBIT says 12 bits, but some programs do not scale them. In a
    # dark scaled image, the lower bits are zero, or one by rounding.
    if image.format == "PNG" and missing and np.bitwise_or.reduce(samples, axis=None) % (1 << missing) <= 1:
        return WHITE
    return declared


def _grey_of_16_bits(image: Image.Image, declared: int) -> tuple[Image.Image, int | None]:
    """Scale a 16-bit grey image to 8 bits. Also return its largest sample (see Decoded)."""
    samples = np.asarray(image)  # (H, W) uint16, or int32 for a PGM
    white = _stored_white(image, samples, declared)
    inverted = isinstance(image, TiffImageFile) and image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    transparent = image.info.get("transparency") if image.format == "PNG" else None
    grey = np.empty(samples.size, np.uint8)
    flat = samples.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK].astype(np.int32)
        scaled = grey[start : start + BLOCK]
        scaled[:] = (white - block if inverted else block) * 255 // white
        if transparent is not None:
            scaled[block == transparent] = 255
    peak = int(samples.max()) if declared == WHITE and not inverted else None
    return Image.fromarray(grey.reshape(samples.shape)), peak


def _to_rgb(image: Image.Image, content: bytes) -> Image.Image:
    depth = content[24] if image.format == "PNG" else 8  # bits per sample in the PNG header
    if image.mode in ("I", "F"):
        values = np.array(image, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise UserError("pixels are not finite numbers")
        values -= low  # in place: a copy of the largest accepted image takes 640 MB
        values *= 255 / max(high - low, 1e-12)
        image = Image.fromarray(np.rint(values, out=values).astype(np.uint8))
    if depth == 16 and image.mode == "RGB" and "transparency" in image.info:
        return _over_white(image, content)
    if depth in (2, 4) and image.mode == "L" and "transparency" in image.info:
        image.info["transparency"] *= 255 // ((1 << depth) - 1)  # Pillow has scaled only the samples
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _over_white(image: Image.Image, content: bytes) -> Image.Image:
    """Make a 16-bit RGB PNG white where the three samples equal its transparent colour.

    Pillow only keeps the upper byte of each sample. This function also reads the lower bytes, because a colour that
    only differs in them is not transparent.
    """
    with Image.open(io.BytesIO(content), formats=("PNG",)) as lower:
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        ImageOps.exif_transpose(lower, in_place=True)
        mask = np.ones((image.height, image.width), np.bool_)
        for band, key in enumerate(image.info["transparency"]):
            mask &= np.asarray(image.getchannel(band)) == key >> 8
            mask &= np.asarray(lower.getchannel(band)) == key & 255
    image.paste((255, 255, 255), mask=Image.fromarray(mask))
    return image
