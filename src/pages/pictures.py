"""Embed figures in a page, with a limit on their total size so that the page can be sent by email."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

CSS_DPI = 96  # CSS pixels per inch
BUDGET = 3_200_000  # bytes of all figures, 4.3 MB as base64; leaves 0.7 MB for the text of a page below 5 MB
DRAWN = 150_000  # bytes; a smaller PNG holds lines or few images and is embedded unchanged
QUALITY = 85  # of JPEG, for grids of photographs and maps, where a PNG is several times as large
SMALLEST = 0.05  # smallest scale of a side, if the budget is too small for all figures


@dataclass(frozen=True)
class Picture:
    """An image with its size in CSS pixels, at which the text of all figures has the same size."""

    uri: str
    width: int
    height: int
    alt: str  # alternative text


def pictures(figures: Mapping[str, bytes], budget: int = BUDGET) -> dict[str, Picture]:
    """Convert PNG files to pictures, by name. Together they have at most `budget` bytes before base64.

    Drawn figures are embedded unchanged. The others become JPEG. If they exceed the rest of the budget, all of them are
    scaled down by the same factor, to SMALLEST at least. The PNG files themselves do not change.
    """
    kept = {name: png for name, png in figures.items() if len(png) < DRAWN}
    if sum(map(len, kept.values())) > budget:
        kept = {}
    sheets = [name for name in figures if name not in kept]
    room = budget - sum(map(len, kept.values()))
    scale = 1.0
    while True:
        small = {name: _jpeg(figures[name], scale) for name in sheets}
        total = sum(map(len, small.values()))
        if total <= room or scale <= SMALLEST:
            break
        scale = max(SMALLEST, 0.95 * scale * (room / total) ** 0.5)  # bytes grow about as fast as the area
    types = dict.fromkeys(kept, "png") | dict.fromkeys(sheets, "jpeg")
    return {
        name: Picture(
            f"data:image/{types[name]};base64,{base64.b64encode(data).decode()}",
            *_css_size(figures[name]),
            description(figures[name]),
        )
        for name, data in (kept | small).items()
    }


def description(png: bytes) -> str:
    """The alternative text that `src.figures.style.save` wrote into a PNG file, or '' if it has none."""
    with Image.open(io.BytesIO(png)) as image:
        return str(image.info.get("Description", ""))


def _jpeg(png: bytes, scale: float) -> bytes:
    """The image on a white background as JPEG, with sides `scale` times as long."""
    with Image.open(io.BytesIO(png)) as image:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        whole = image.convert("RGB")
    if size != whole.size:
        whole = whole.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    whole.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def _css_size(png: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels, from the resolution that the file states."""
    with Image.open(io.BytesIO(png)) as image:
        dpi = image.info.get("dpi", (CSS_DPI, CSS_DPI))
        return round(image.width * CSS_DPI / dpi[0]), round(image.height * CSS_DPI / dpi[1])
