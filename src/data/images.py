"""Any image file -> uint8 RGB of one size."""

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from src.errors import UserError, printable

# Pillow reads more, among them formats that are programs (EPS runs Ghostscript) or call on other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")

# Above this an image is refused before its pixels are decoded: a small file can unfold into gigabytes.
MAX_PIXELS = 80_000_000


def decode(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file into uint8 RGB of shape (size, size, 3).

    The orientation of the camera is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits, other
    deep grey is stretched from its darkest to its brightest pixel, of an animation the first frame is taken. The
    central square is then resized with antialiasing (the same as resizing the shorter side and cutting out the
    centre); an image that already has the size keeps its pixels.

    Raises UserError with the reason, without a file name, when the content is not a whole image or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; what matters raises
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(content, size)
    except UserError:
        raise
    except Exception as error:  # decoders answer damaged content with nearly any exception
        reason = "not an image format that is read here" if "cannot identify" in str(error) else str(error)
        raise UserError(printable(reason or type(error).__name__)) from None


def _decode(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UserError(f"{width} x {height} pixels are more than the {MAX_PIXELS:,} that are decoded")
        image.draft(None, (4 * size, 4 * size))  # a large JPEG is decoded at a fraction of its size; no-op otherwise
        ImageOps.exif_transpose(image, in_place=True)
        rgb = _to_rgb(image)
    return fit(rgb, size)


def fit(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """The central square of an RGB image, resized with antialiasing to (size, size, 3) uint8."""
    if image.size != (size, size):
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.array(image, dtype=np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.array(image, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise UserError("pixels are not finite numbers")
        values -= low  # in place: of the largest image that is decoded, each copy is 640 MB
        values *= 255 / max(high - low, 1e-12)
        image = Image.fromarray(np.rint(values, out=values).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
