"""Grey TIFF with packed samples of 10, 12 or 14 bits, which Pillow does not unpack."""

import io
import struct
import warnings

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from src.errors import UserError

PACKED = (10, 12, 14)
LOSSLESS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd")

# Pillow opens these files, and `load` decodes them. Without the entries it reads none of them except 12 bits of a
# little-endian file in which black is zero. Key: byte order, photometric interpretation, sample format, fill order,
# bits per sample, extra samples; value: mode, raw mode.
TiffImagePlugin.OPEN_INFO.update(
    {
        (order, photometric, (1,), 1, (bits,), ()): ("I;16", "I;16")
        for order in (b"II", b"MM")
        for photometric in (0, 1)
        for bits in PACKED
    }
)


def load(image: TiffImageFile, content: bytes) -> None:
    """Load the samples of an image that was opened from `content`, if they are packed.

    Pillow reads the rows as bytes, whatever their compression and their division into strips or tiles; the samples are
    then taken out of the bytes. Raises UserError if the file is packed in a way that is not read.
    """
    tags = image.tag_v2
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
    if not (image.mode == "I;16" and bits in PACKED):
        return
    big = 43 in content[2:4]
    if big or image.info["compression"] not in LOSSLESS or tags.get(TiffImagePlugin.PREDICTOR, 1) != 1:
        raise UserError(f"a TIFF of {bits} bits that is BigTIFF or has a predictor or a lossy compression is not read")
    samples = _unpack(_rows(image, content, bits), bits)[:, : tags[TiffImagePlugin.IMAGEWIDTH]]
    image.im = Image.fromarray(samples).im
    image.tile = []  # Pillow has nothing left to decode


def _rows(image: TiffImageFile, content: bytes, bits: int) -> npt.NDArray[np.uint8]:
    """The uncompressed bytes of each row.

    The directory of the file is changed: it declares 8-bit samples, as many of them per row as the row has bytes.
    """
    tags = image.tag_v2
    replaced = {
        TiffImagePlugin.IMAGEWIDTH: -(-tags[TiffImagePlugin.IMAGEWIDTH] * bits // 8),
        TiffImagePlugin.BITSPERSAMPLE: 8,
        TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 1,
        TiffImagePlugin.TILEWIDTH: tags.get(TiffImagePlugin.TILEWIDTH, 0) * bits // 8,  # a multiple of 16 samples
        ExifTags.Base.Orientation: 1,  # `image` is turned later
    }
    order = "<" if tags.prefix == b"II" else ">"
    changed = bytearray(content)
    (count,) = struct.unpack_from(f"{order}H", content, tags.offset)
    for entry in range(tags.offset + 2, tags.offset + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(f"{order}H", content, entry)
        if tag in replaced:
            struct.pack_into(f"{order}HHII", changed, entry, tag, 4, 1, replaced[tag])  # one value of type LONG
    with warnings.catch_warnings():
        # The pixels of `image` were counted; as bytes they are up to 1.75 times as many.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(changed), formats=("TIFF",)) as rows:
            return np.asarray(rows)


def _unpack(rows: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint16]:
    """Bytes (H, B) to samples (H, 8 * groups): 8 samples fill `bits` bytes, the first sample in the highest bits."""
    height, width = rows.shape
    groups = -(-width // bits)
    padded = np.zeros((height, groups * bits + 1), np.uint8)
    padded[:, :width] = rows
    samples = np.empty((height, groups * 8), np.uint16)
    for nth in range(8):  # of each group
        first, skipped = divmod(nth * bits, 8)
        window = np.zeros((height, groups), np.uint32)  # three bytes hold the sample and at most 13 other bits
        for byte in range(first, first + 3):
            window = window << 8 | padded[:, byte : byte + groups * bits : bits]
        samples[:, nth::8] = window >> (24 - skipped - bits) & ((1 << bits) - 1)
    return samples
