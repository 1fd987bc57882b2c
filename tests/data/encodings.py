"""Encodings of images as a table, each with the pixels that it must decode to.

All images are 16 x 16 and consist of four columns of one colour. To add an encoding, add a row to ENCODINGS. Pillow
writes it (`saved`) if it can; `png`, `tiff`, `pgm` and `jpeg2000` write the bytes of what it cannot.
"""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 16
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # x, y, steps

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Encoding:
    """`content` decodes to `pixels` (16, 16, 3), at most `within` off; `peak` as in src.data.images.Decoded."""

    content: bytes
    pixels: Ints
    within: int = 0
    peak: int | None = None


# Samples


def columns(*colours: int | tuple[int, ...]) -> Ints:
    """Four columns, (16, 16) of numbers or (16, 16, C) of tuples."""
    return np.repeat(np.tile(np.array(colours, np.int64), (SIDE, *[1] * np.ndim(colours))), SIDE // 4, axis=1)


def rgb(*colours: int | tuple[int, int, int]) -> Ints:
    """The expected pixels of four columns; a number is a grey."""
    return columns(*[(colour,) * 3 if isinstance(colour, int) else colour for colour in colours])


def thirds(white: int) -> Ints:
    """Samples that are black, two greys and white: exactly 0, 85, 170 and 255 of 255."""
    assert white % 3 == 0
    return columns(0, white // 3, 2 * white // 3, white)


def pack(samples: Ints, bits: int, order: str = ">") -> list[bytes]:
    """Each row (W,) or (W, C) as bytes: 16 bits in byte order, fewer bits packed from the highest bit on."""
    if bits == 16:
        return [(row % (1 << 16)).astype(f"{order}u2").tobytes() for row in samples]
    rows = ["".join(f"{value:0{bits}b}" for value in row.ravel()) for row in samples]
    return [int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in rows]


# Formats


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(pixels: Ints) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8))


def png(samples: Ints, bits: int, colour: int, *chunks: tuple[bytes, bytes], interlaced: bool = False) -> bytes:
    """A PNG of a colour type (0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA) with chunks before its data."""
    passes = [samples[y::down, x::right] for x, y, right, down in ADAM7] if interlaced else [samples]
    rows = [row for part in passes if part.size for row in pack(part, bits)]
    header = struct.pack(">IIBBBBB", *samples.shape[1::-1], bits, colour, 0, 0, interlaced)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))  # filter 0: none
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def tiff(
    samples: Ints,
    bits: int,
    order: str = "<",
    white_is_zero: bool = False,
    compress: Callable[[bytes], bytes] | None = None,
    tile: int = 0,
    **tags: int,
) -> bytes:
    """A TIFF of grey (H, W) or RGB (H, W, 3) in strips of 8 rows, or in square tiles.

    `compress` is of Deflate. `tags` are further tags by number, as `t281=4095`: all are of type SHORT.
    """
    height, width = samples.shape[:2]
    if tile:
        padded = np.pad(samples, [(0, -length % tile) for length in samples.shape])
        parts = [
            pack(padded[y : y + tile, x : x + tile], bits, order)
            for y in range(0, height, tile)
            for x in range(0, width, tile)
        ]
    else:
        parts = [pack(samples[y : y + 8], bits, order) for y in range(0, height, 8)]
    strips = [(compress or bytes)(b"".join(part)) for part in parts]
    bands = samples.shape[2] if samples.ndim == 3 else 1
    values: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: [bits] * bands,
        259: [8 if compress else 1],
        262: [2 if bands == 3 else 0 if white_is_zero else 1],
        277: [bands],
        **({322: [tile], 323: [tile]} if tile else {278: [8]}),
        (324 if tile else 273): [0] * len(strips),  # offsets, known below
        (325 if tile else 279): [len(strip) for strip in strips],
        **{int(tag[1:]): [value] for tag, value in tags.items()},
    }
    short = {258, 259, 262, 277} | {int(tag[1:]) for tag in tags}
    arrays_at = 8 + 2 + 12 * len(values) + 4
    data_at = arrays_at + sum(4 * len(numbers) for numbers in values.values() if len(numbers) > 1)
    values[324 if tile else 273] = [data_at + sum(map(len, strips[:nth])) for nth in range(len(strips))]
    entries, arrays = b"", b""
    for tag, numbers in sorted(values.items()):
        letter = "H" if tag in short else "I"
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers).ljust(4, b"\0")
        if len(packed) > 4:
            at, packed = arrays_at + len(arrays), packed.ljust(4 * len(numbers), b"\0")
            arrays += packed
            packed = struct.pack(f"{order}I", at)
        entries += struct.pack(f"{order}HHI", tag, 3 if tag in short else 4, len(numbers)) + packed
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(values))
    return header + entries + bytes(4) + arrays + b"".join(strips)


def pgm(samples: Ints, largest: int, plain: bool = False) -> bytes:
    height, width = samples.shape
    if plain:
        body = " ".join(map(str, samples.ravel())).encode()
    else:
        body = b"".join(pack(samples, 16 if largest > 255 else 8))
    return b"P%d\n# comment\n%d %d\n%d\n" % (2 if plain else 5, width, height, largest) + body


def jpeg2000(samples: Ints, bits: int) -> bytes:
    """Lossless grey of 16 bits or fewer.

    Pillow writes 16 bits only, as differences from the middle (32,768). If the file declares fewer bits,
    a decoder adds their middle instead, so shifted samples and a changed depth make a file of fewer bits.
    """
    shifted = samples + (1 << 15) - (1 << bits - 1)
    content = bytearray(saved(Image.fromarray(shifted.astype(np.uint16)), "JPEG2000", no_jp2=True))
    content[42] = bits - 1
    return bytes(content)


def turned(image: Image.Image, orientation: int, format: str, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, format, exif=exif, **options)


def animated(image: Image.Image, format: str, **options: object) -> bytes:
    """An animation whose first frame is the image, and whose second is black."""
    return saved(image, format, save_all=True, append_images=[Image.new(image.mode, image.size)], **options)


def shorts(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


# The table

GREYS = rgb(0, 85, 170, 255)
RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 99, 199)
COLOURS = rgb(RED, GREEN, BLUE, GREY)
HALVES = rgb(255, 255, 0, 0)  # as wide as the blocks of JPEG, so that its loss is small
NEAR = (2_313, 25_443, 51_143)  # 257 times GREY
KEY = (2_314, 25_443, 51_143)  # differs in a lower byte only

ENCODINGS = {
    # 8 bits and fewer
    "PNG grey": Encoding(png(thirds(255), 8, 0), GREYS),
    "PNG grey, interlaced": Encoding(png(thirds(255), 8, 0, interlaced=True), GREYS),
    "PNG 1 bit": Encoding(png(columns(0, 1, 0, 1), 1, 0), rgb(0, 255, 0, 255)),
    "PNG 2 bits": Encoding(png(thirds(3), 2, 0), GREYS),
    "PNG 4 bits": Encoding(png(thirds(15), 4, 0), GREYS),
    "PGM": Encoding(pgm(thirds(255), 255), GREYS),
    "PGM, plain": Encoding(pgm(thirds(255), 255, plain=True), GREYS),
    "PGM of maxval 15": Encoding(pgm(thirds(15), 15), GREYS),
    "PBM": Encoding(saved(picture(HALVES).convert("1"), "PPM"), HALVES),
    "TIFF grey": Encoding(tiff(thirds(255), 8), GREYS),
    "TIFF grey, white is zero": Encoding(tiff(255 - thirds(255), 8, white_is_zero=True), GREYS),
    "TIFF 1 bit, white is zero": Encoding(tiff(columns(1, 0, 1, 0), 1, white_is_zero=True), rgb(0, 255, 0, 255)),
    "TIFF 4 bits": Encoding(tiff(thirds(15), 4), GREYS),
    "JPEG grey": Encoding(saved(picture(HALVES).convert("L"), "JPEG", quality=95), HALVES, within=2),
    # 16-bit grey
    "PNG 16 bits": Encoding(png(thirds(65_535), 16, 0), GREYS, peak=65_535),
    "PNG 16 bits, interlaced": Encoding(png(thirds(65_535), 16, 0, interlaced=True), GREYS, peak=65_535),
    "PGM 16 bits": Encoding(pgm(thirds(65_535), 65_535), GREYS, peak=65_535),
    "PGM 16 bits, plain": Encoding(pgm(thirds(65_535), 65_535, plain=True), GREYS, peak=65_535),
    "TIFF 16 bits": Encoding(tiff(thirds(65_535), 16), GREYS, peak=65_535),
    "TIFF 16 bits, big-endian": Encoding(tiff(thirds(65_535), 16, ">"), GREYS, peak=65_535),
    "TIFF 16 bits, Deflate": Encoding(tiff(thirds(65_535), 16, compress=zlib.compress), GREYS, peak=65_535),
    "TIFF 16 bits, white is zero": Encoding(tiff(65_535 - thirds(65_535), 16, white_is_zero=True), GREYS),
    "TIFF 16 bits, white is zero, big-endian": Encoding(
        tiff(65_535 - thirds(65_535), 16, ">", white_is_zero=True), GREYS
    ),
    "TIFF 16 bits, white is zero, big-endian, Deflate": Encoding(
        tiff(65_535 - thirds(65_535), 16, ">", white_is_zero=True, compress=zlib.compress), GREYS
    ),
    "JPEG 2000 16 bits": Encoding(jpeg2000(thirds(65_535), 16), GREYS, peak=65_535),
    "JPEG 2000 16 bits, with header": Encoding(
        saved(Image.fromarray(thirds(65_535).astype(np.uint16)), "JPEG2000"), GREYS, peak=65_535
    ),
    # Fewer bits than 16, declared
    "PGM of maxval 1023": Encoding(pgm(thirds(1_023), 1_023), GREYS),
    "PGM of maxval 4095": Encoding(pgm(thirds(4_095), 4_095), GREYS),
    "PGM of maxval 4095, plain": Encoding(pgm(thirds(4_095), 4_095, plain=True), GREYS),
    "PGM of maxval 4095, dark": Encoding(pgm(columns(0, 273, 546, 819), 4_095), rgb(0, 17, 34, 51)),  # 273 = 17 / 255
    "TIFF 12 bits": Encoding(tiff(thirds(4_095), 12), GREYS),
    "TIFF 12 bits, upside down": Encoding(tiff(thirds(4_095), 12, t274=3), rgb(255, 170, 85, 0)),
    "TIFF 12 bits, on its side": Encoding(tiff(thirds(4_095), 12, t274=6), GREYS.swapaxes(0, 1)),
    "TIFF of MaxSampleValue 4095": Encoding(tiff(thirds(4_095), 16, t281=4_095), GREYS),
    "TIFF of MaxSampleValue 4095, white is zero": Encoding(
        tiff(4_095 - thirds(4_095), 16, white_is_zero=True, t281=4_095), GREYS
    ),
    "PNG of 12 bits by sBIT": Encoding(png(thirds(4_095), 16, 0, (b"sBIT", b"\x0c")), GREYS),
    "JPEG 2000 12 bits": Encoding(jpeg2000(thirds(4_095), 12), GREYS),
    # The same, but the samples are scaled to 16 bits all the same; the declaration is no depth, or it is wrong
    "PNG of sBIT 12, scaled": Encoding(png(thirds(65_535), 16, 0, (b"sBIT", b"\x0c")), GREYS),
    "PNG of sBIT 12, scaled, dark": Encoding(  # 80, 160 and 240 of 4,095
        png(columns(0, 1_280, 2_561, 3_841), 16, 0, (b"sBIT", b"\x0c")), rgb(0, 4, 9, 14)
    ),
    "TIFF of MaxSampleValue 40000": Encoding(
        tiff(columns(0, 10_000, 21_845, 40_000), 16, t281=40_000), rgb(0, 38, 85, 155), peak=40_000
    ),
    "TIFF of a wrong MaxSampleValue": Encoding(tiff(thirds(65_535), 16, t281=4_095), GREYS),
    # Fewer bits than 16, undeclared: almost black, but with a peak
    "PNG 12 bits in 16": Encoding(png(thirds(4_095), 16, 0), rgb(0, 5, 10, 15), peak=4_095),
    # Without a defined white: stretched
    "TIFF float": Encoding(saved(Image.fromarray(columns(-1, 0, 1, 2).astype(np.float32)), "TIFF"), GREYS),
    "TIFF signed": Encoding(tiff(columns(-300, 0, 300, 600), 16, t339=2), GREYS),
    "PFM": Encoding(b"Pf\n16 16\n-1.0\n" + columns(-1, 0, 1, 2).astype("<f4").tobytes(), GREYS),
    # Transparency, laid over white
    "PNG transparent grey": Encoding(png(thirds(255), 8, 0, (b"tRNS", shorts(85))), rgb(0, 255, 170, 255)),
    "PNG transparent of 2 bits": Encoding(png(thirds(3), 2, 0, (b"tRNS", shorts(1))), rgb(0, 255, 170, 255)),
    "PNG transparent of 4 bits": Encoding(png(thirds(15), 4, 0, (b"tRNS", shorts(10))), rgb(0, 85, 255, 255)),
    "PNG transparent of 16 bits": Encoding(
        png(columns(0, 21_845, 21_846, 65_535), 16, 0, (b"tRNS", shorts(21_845))), rgb(0, 255, 85, 255), peak=65_535
    ),
    "PNG transparent RGB": Encoding(
        png(columns(RED, GREEN, BLUE, GREY), 8, 2, (b"tRNS", shorts(*GREY))), rgb(RED, GREEN, BLUE, 255)
    ),
    "PNG transparent RGB of 16 bits": Encoding(
        png(columns(NEAR, KEY, (0, 0, 0), NEAR), 16, 2, (b"tRNS", shorts(*KEY))), rgb(GREY, 255, 0, GREY)
    ),
    "PNG transparent RGB of 16 bits, interlaced": Encoding(
        png(columns(NEAR, KEY, (0, 0, 0), NEAR), 16, 2, (b"tRNS", shorts(*KEY)), interlaced=True),
        rgb(GREY, 255, 0, GREY),
    ),
    "PNG palette with transparency": Encoding(
        png(columns(0, 1, 2, 3), 8, 3, (b"PLTE", bytes([*RED, *GREEN, *BLUE, 0, 0, 0])), (b"tRNS", b"\xff\0\xff\x80")),
        rgb(RED, 255, BLUE, 127),
    ),
    "PNG grey with alpha": Encoding(
        png(columns((10, 255), (10, 0), (0, 128), (255, 255)), 8, 4), rgb(10, 255, 127, 255)
    ),
    "PNG grey with alpha of 16 bits": Encoding(
        png(columns((2_570, 65_535), (2_570, 0), (0, 32_896), (65_535, 65_535)), 16, 4), rgb(10, 255, 127, 255)
    ),
    "PNG RGBA": Encoding(
        png(columns((*RED, 255), (*RED, 0), (0, 0, 0, 128), (*GREY, 255)), 8, 6), rgb(RED, 255, 127, GREY)
    ),
    "PNG RGBA of 16 bits": Encoding(
        png(columns((65_535, 0, 0, 65_535), (0, 0, 0, 0), (0, 0, 0, 32_896), (*NEAR, 65_535)), 16, 6),
        rgb(RED, 255, 127, GREY),
    ),
    "GIF with transparency": Encoding(
        saved(picture(GREYS).convert("L"), "GIF", transparency=0), rgb(255, 85, 170, 255)
    ),
    # Colours
    "PNG RGB": Encoding(png(columns(RED, GREEN, BLUE, GREY), 8, 2), COLOURS),
    "PNG RGB of 16 bits": Encoding(png(257 * columns(RED, GREEN, BLUE, GREY), 16, 2), COLOURS),
    "PNG palette": Encoding(saved(picture(COLOURS).quantize(4), "PNG"), COLOURS),
    "TIFF RGB of 16 bits": Encoding(tiff(257 * columns(RED, GREEN, BLUE, GREY), 16), COLOURS),
    "TIFF RGB of 16 bits, big-endian": Encoding(tiff(257 * columns(RED, GREEN, BLUE, GREY), 16, ">"), COLOURS),
    "PPM of maxval 1023": Encoding(
        b"P6 16 16 1023\n" + b"".join(pack(columns((1_023, 0, 0), (0, 341, 0), (0, 0, 682), (0, 0, 0)), 16)),
        rgb(RED, (0, 85, 0), (0, 0, 170), 0),
    ),
    "BMP": Encoding(saved(picture(COLOURS), "BMP"), COLOURS),
    "TGA": Encoding(saved(picture(COLOURS), "TGA"), COLOURS),
    "ICO": Encoding(saved(picture(COLOURS), "ICO"), COLOURS),
    "WEBP": Encoding(saved(picture(COLOURS), "WEBP", lossless=True), COLOURS),
    "JPEG 2000 RGB": Encoding(saved(picture(COLOURS), "JPEG2000"), COLOURS),
    "AVIF": Encoding(saved(picture(HALVES), "AVIF", quality=95), HALVES, within=3),
    "JPEG CMYK": Encoding(
        saved(
            Image.fromarray(
                columns((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 255)).astype(np.uint8), "CMYK"
            ),
            "JPEG",
        ),
        HALVES,
        within=2,
    ),
    # Orientation of the camera, animation
    "JPEG on its side": Encoding(turned(picture(HALVES), 6, "JPEG", quality=95), HALVES.swapaxes(0, 1), within=2),
    "PNG on its side": Encoding(turned(picture(COLOURS), 6, "PNG"), COLOURS.swapaxes(0, 1)),
    "PNG 16 bits, on its side": Encoding(
        turned(Image.fromarray(thirds(65_535).astype(np.uint16)), 6, "PNG"), GREYS.swapaxes(0, 1), peak=65_535
    ),
    "GIF, animated": Encoding(animated(picture(GREYS).convert("L"), "GIF"), GREYS),
    "WEBP, animated": Encoding(animated(picture(COLOURS), "WEBP", lossless=True), COLOURS),
    "PNG, animated": Encoding(animated(picture(COLOURS), "PNG"), COLOURS),
}

# The same grey, (H, W) of 0 to 255, in containers that hold it in 8 bits or more.
CONTAINERS: dict[str, Callable[[Ints], bytes]] = {
    "PNG": lambda grey: png(grey, 8, 0),
    "PNG 16": lambda grey: png(257 * grey, 16, 0),
    "PNG sBIT 12": lambda grey: png(rescaled(grey, 4_095), 16, 0, (b"sBIT", b"\x0c")),
    "PNG sBIT 12, scaled": lambda grey: png(rescaled(rescaled(grey, 4_095), 65_535, 4_095), 16, 0, (b"sBIT", b"\x0c")),
    "PGM": lambda grey: pgm(grey, 255),
    "PGM 16": lambda grey: pgm(257 * grey, 65_535),
    "PGM 300": lambda grey: pgm(rescaled(grey, 300), 300),
    "PGM 1023": lambda grey: pgm(rescaled(grey, 1_023), 1_023),
    "PGM 40000": lambda grey: pgm(rescaled(grey, 40_000), 40_000),
    "JPEG 2000 12": lambda grey: jpeg2000(rescaled(grey, 4_095), 12),
    "TIFF 12": lambda grey: tiff(rescaled(grey, 4_095), 12),
    "TIFF MaxSampleValue": lambda grey: tiff(rescaled(grey, 4_095), 16, t281=4_095),
} | {
    f"TIFF {bits}, {order}, {'white' if white_is_zero else 'black'} is zero": (
        lambda grey, bits=bits, order=order, white_is_zero=white_is_zero: tiff(
            rescaled(255 - grey if white_is_zero else grey, (1 << bits) - 1), bits, order, white_is_zero
        )
    )
    for bits in (8, 16)
    for order in "<>"
    for white_is_zero in (False, True)
}


def rescaled(samples: Ints, white: int, from_white: int = 255) -> Ints:
    """The nearest sample of another depth."""
    return (samples * white + from_white // 2) // from_white
