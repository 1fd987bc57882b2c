"""The style of all figures (size, fonts, colours) and their conversion to PNG.

A figure comes with its alternative text, and its PNG file holds both. So the text reaches pages that embed the file.
Figures use `matplotlib.figure.Figure` directly, not pyplot, so there is no global state, display or figure to close.
"""

import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from cycler import cycler
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.artifacts import atomic

# Okabe & Ito (2008), "Color Universal Design": colour-blind readers can distinguish these colours.
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
RED: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
YELLOW: Final = "#F0E442"
PALETTE: Final = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, YELLOW)

INK: Final = "#1F2933"
MUTED: Final = "#5F6C7B"
GRID: Final = "#E3E7EC"
DPI: Final = 150

STYLE: Final[dict[str, Any]] = {
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same on every machine
    "font.size": 9.5,
    "text.color": INK,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.facecolor": "white",
    "axes.edgecolor": "#9AA5B1",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 8.5,
}


class Described(NamedTuple):
    """A figure with its alternative text: what it shows, in words and numbers."""

    figure: Figure
    alt: str


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure of the given size in inches, 150 dots per inch, with constrained layout.

    Axes take their style when they are added, so the style is set for the process and not only around this call.
    """
    style.use(STYLE)
    return Figure(figsize=(width_in, height_in), layout="constrained")


def new_sheet(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """A figure for many images at manual positions. Its one axes has coordinates in inches from the top left corner.

    One axes per image takes ten times as long, and a constrained layout of 200 axes takes a minute.
    """
    style.use(STYLE)
    figure = Figure(figsize=(width_in, height_in))
    sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, width_in), ylim=(height_in, 0))
    sheet.set_axis_off()
    return figure, sheet


def put(sheet: Axes, image: np.ndarray, x: float, y: float, side: float, **look: Any) -> None:
    """Place an image (H, W, 3) or a map (H, W) with its top left corner at (x, y). `look` is passed to `imshow`."""
    sheet.imshow(image, extent=(x, x + side, y + side, y), aspect="auto", **look)


def cut(name: str, length: int = 40) -> str:
    """`name`, or its first characters if it is longer than `length`."""
    return name if len(name) <= length else name[: length - 1] + "…"


def plain(name: str, length: int = 40) -> str:
    """`name` as text for a figure, cut to `length` characters. A `$` is escaped, so that it starts no formula."""
    return cut(name, length).replace("$", r"\$")


def save(drawn: Described, path: Path) -> None:
    """Write a figure to `path` as a PNG, atomically, with its text as `Description`. The same gives the same bytes."""
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in the name of a class; it is drawn as a box
        metadata = {"Software": None, "Description": drawn.alt}
        drawn.figure.savefig(temporary, format="png", dpi=DPI, metadata=metadata)
