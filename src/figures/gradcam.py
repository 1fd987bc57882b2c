"""Misclassified images and the maps over them, always in the order of the one list of mistakes.

Maps are drawn in turbo (Mikhailov, 2019): it reads like the jet of the Grad-CAM paper, blue for none and red for most,
without jet's false edges. Images keep their pixels (nearest neighbour); maps are smooth (bilinear).
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from src.figures.style import MUTED, new_figure, plain

COLOURS = "turbo"
LARGEST = 200  # images in one figure; the list itself is whole in metrics/misclassified.csv

# Lengths in inches. The cells are placed by hand: a constrained layout of 200 axes takes a minute.
CELL, GAP, LINE, EDGE, HEAD, BAR, NARROWEST = 1.35, 0.12, 0.16, 0.15, 0.42, 0.75, 4.5


def image_grid(images: np.ndarray, titles: Sequence[str], columns: int, heading: str) -> Figure:
    """Images uint8 (N, S, S, 3) with their titles, row by row; with no images, a figure that says so."""
    return _grid(images, None, titles, columns, heading, 1.0)


def overlay_grid(
    images: np.ndarray, maps: np.ndarray, titles: Sequence[str], columns: int, heading: str, image_weight: float
) -> Figure:
    """Maps (N, S, S) in [0, 1] laid over images uint8 (N, S, S, 3): `image_weight` is the share of the image."""
    return _grid(images, maps, titles, columns, heading, image_weight)


def layer_matrix(
    images: np.ndarray,
    maps: np.ndarray,
    titles: Sequence[str],
    layers: Sequence[str],
    heading: str,
    image_weight: float,
) -> Figure:
    """One row an image: the image, then its overlay at each of L layers. `maps` is (N, L, S, S) in [0, 1]."""
    if len(images) == 0:
        return _nothing(heading)
    columns = 1 + len(layers)
    figure, cells = _cells(len(images) * columns, columns, heading, head=HEAD + LINE, left=1.35, title=0.0, bar=True)
    for row, (image, title) in enumerate(zip(images, titles, strict=True)):
        first, *rest = cells[row * columns : (row + 1) * columns]
        _show(first, image, None, 1.0)
        first.set_ylabel(title, fontsize=8, rotation=0, ha="right", va="center", labelpad=6)
        for axes, values in zip(rest, maps[row], strict=True):
            _show(axes, image, values, image_weight)
    for axes, name in zip(cells, ["image", *layers], strict=False):
        axes.set_title(plain(name, 18), fontsize=9, loc="center", pad=4)
    return figure


def pair_titles(predicted: Sequence[str], true: Sequence[str]) -> list[str]:
    """`predicted / true` of each image, in two lines where one would be too long for its cell."""
    titles = []
    for guess, truth in zip(predicted, true, strict=True):
        one, other = plain(guess, 18), plain(truth, 18)
        titles.append(f"{one} / {other}" if len(guess) + len(truth) <= 15 else f"{one} /\n{other}")
    return titles


def _grid(
    images: np.ndarray,
    maps: np.ndarray | None,
    titles: Sequence[str],
    columns: int,
    heading: str,
    image_weight: float,
) -> Figure:
    if len(images) == 0:
        return _nothing(heading)
    shown = min(len(images), LARGEST)
    if shown < len(images):
        heading = f"{heading} (the first {shown} of {len(images)})"
    lines = 1 + max(title.count("\n") for title in titles[:shown])
    figure, cells = _cells(
        shown, min(columns, shown), heading, head=HEAD, left=EDGE, title=lines * LINE, bar=maps is not None
    )
    for i, axes in enumerate(cells):
        _show(axes, images[i], None if maps is None else maps[i], image_weight)
        axes.set_title(titles[i], fontsize=8, loc="center", fontweight="normal", pad=3)
    return figure


def _cells(
    count: int, columns: int, heading: str, *, head: float, left: float, title: float, bar: bool
) -> tuple[Figure, list[Axes]]:
    """A figure with `head` inches for the heading and `count` square axes, each with `title` inches above it."""
    rows = -(-count // columns)
    width = max(
        left + columns * (CELL + GAP) + BAR, NARROWEST
    )  # with or without the bar: figures lie beside each other
    height = head + rows * (title + CELL + GAP) + EDGE
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    figure.text(EDGE / width, 1 - 0.12 / height, heading, fontsize=10.5, fontweight="bold", va="top")
    cells = []
    for i in range(count):
        x = left + (i % columns) * (CELL + GAP)
        y = height - head - (i // columns + 1) * (title + CELL + GAP) + GAP
        cells.append(figure.add_axes((x / width, y / height, CELL / width, CELL / height)))
    if bar:
        x, length = left + columns * (CELL + GAP) + 0.05, min(2 * CELL, rows * CELL)
        axes = figure.add_axes((x / width, (height - head - title - length) / height, 0.12 / width, length / height))
        colours = figure.colorbar(ScalarMappable(cmap=COLOURS), cax=axes)
        colours.set_label("evidence", labelpad=-14)  # between the two tick labels
        colours.set_ticks([0, 1], labels=["least", "most"])
    return figure, cells


def _show(axes: Axes, image: np.ndarray, values: np.ndarray | None, image_weight: float) -> None:
    """One image (S, S, 3), with the map (S, S) over it where there is one."""
    extent = (0, image.shape[1], image.shape[0], 0)
    axes.imshow(image, interpolation="nearest", extent=extent)
    if values is not None:
        axes.imshow(
            values, cmap=COLOURS, vmin=0, vmax=1, alpha=1 - image_weight, interpolation="bilinear", extent=extent
        )
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _nothing(heading: str) -> Figure:
    figure = new_figure(6, 1.4)
    figure.text(0.03, 0.9, heading, fontsize=10.5, fontweight="bold", va="top")
    figure.text(0.5, 0.35, "No test image is misclassified.", ha="center", va="center", color=MUTED)
    return figure


def prediction(image: np.ndarray, values: np.ndarray, title: str, image_weight: float) -> Figure:
    """An image (S, S, 3) beside the same with its map (S, S)."""
    figure, cells = _cells(2, 2, title, head=HEAD, left=EDGE, title=0.0, bar=True)
    _show(cells[0], image, None, 1.0)
    _show(cells[1], image, values, image_weight)
    return figure
