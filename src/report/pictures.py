"""Figures as the page holds them: in the page itself, and small enough together that it can be sent by mail."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

CSS_DPI = 96  # CSS has 96 pixels an inch
BUDGET = 3_200_000  # bytes of all figures: as base64 4.3 MB, which leaves 0.7 MB for the text of a page below 5 MB
DRAWN = 150_000  # bytes; a PNG below is drawn lines or few images, and stays as it is
QUALITY = 85  # of JPEG, for the others: sheets of photographs and maps, where a PNG takes several times as much
SMALLEST = 0.05  # of the side: what is left of a sheet where no share of the budget would do


@dataclass(frozen=True)
class Picture:
    """An image with the size in CSS pixels at which the letters of all figures are equally large."""

    uri: str
    width: int
    height: int


def pictures(figures: Mapping[str, bytes], budget: int = BUDGET) -> dict[str, Picture]:
    """PNG files by name as pictures by name. Together they have at most `budget` bytes, before base64.

    Drawn figures come first and as they are. If the rest as JPEG is too large at full size, it is scaled down: hardly
    more than needed, all by the same factor, to SMALLEST and no further. The files of the run stay as they are.
    """
    sizes = {name: _css_size(png) for name, png in figures.items()}
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
        scale = max(SMALLEST, 0.95 * scale * (room / total) ** 0.5)  # bytes grow with the area, or a little slower
    types = dict.fromkeys(kept, "png") | dict.fromkeys(sheets, "jpeg")
    return {
        name: Picture(f"data:image/{types[name]};base64,{base64.b64encode(data).decode()}", *sizes[name])
        for name, data in (kept | small).items()
    }


def _jpeg(png: bytes, scale: float) -> bytes:
    """The image on white, its sides `scale` times as long."""
    with Image.open(io.BytesIO(png)) as image:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        whole = image.convert("RGB")
    if size != whole.size:
        whole = whole.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    whole.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def _css_size(png: bytes) -> tuple[int, int]:
    """Width and height at the resolution that the file states."""
    with Image.open(io.BytesIO(png)) as image:
        dpi = image.info.get("dpi", (CSS_DPI, CSS_DPI))
        return round(image.width * CSS_DPI / dpi[0]), round(image.height * CSS_DPI / dpi[1])
