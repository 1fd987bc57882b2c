"""Misclassified images and their maps, always in the order of the list of mistakes.

Maps are drawn in inferno, a perceptually uniform colour map. Their opacity follows the evidence, so the image stays
visible where there is none. Images keep their pixels (nearest neighbour), and maps are smooth (bilinear).
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from src.explain.mistakes import Mistakes
from src.figures.style import MUTED, Described, cut, new_figure, new_sheet, plain, put
from src.params import GradCam
from src.wording import percent

COLOURS = colormaps["inferno"]
LARGEST = 200  # images in one figure; metrics/misclassified.csv lists all
MATRIX_ROWS = 25  # images in the layer matrix, at most
NAMED = 5  # mistakes in the text of a figure; the page lists all
NO_MISTAKES = "No test image is misclassified."

# Lengths in inches.
CELL, GAP, LINE, EDGE, HEAD, BAR, NARROWEST = 1.35, 0.12, 0.16, 0.15, 0.42, 0.75, 4.5
HEADING_LINE, HEADING_LETTER = 0.2, 0.1  # of the heading: height of a line, width of an average letter

Corner = tuple[float, float]  # top left corner of a cell


def grids(layers: Sequence[str]) -> dict[str, str]:
    """The name of the figure with the maps of the predicted class at each layer. The last layer is the main one."""
    return {layer: f"predicted-{file_name(layer)}" for layer in layers} | {layers[-1]: "predicted"}


def file_name(layer: str) -> str:
    """The dotted name of a layer without brackets, which a shell would expand. layer1[0].conv1 -> layer1.0.conv1

    Different layers have different names. If two spellings share a name, they mean the same layer.
    """
    return layer.replace("[", ".").replace("]", "")


def figures(settings: GradCam, mistakes: Mistakes) -> Iterator[tuple[str, Described]]:
    """Yield the name and figure of each sheet, with the same images in the same places.

    These are the images without maps, the maps of the predicted class at each layer, those of the true class at the
    main layer, and a matrix of all layers with one row per image.
    """
    rows, images, method = mistakes.rows, mistakes.images, settings.method
    titles = pair_titles([row.predicted for row in rows], [row.true for row in rows])
    pair = "predicted / true"
    what = f"misclassified test images, in the order of the list of {len(rows):,}"  # a figure may show fewer

    def described(figure: Figure, alt: str) -> Described:
        return Described(figure, alt if rows else NO_MISTAKES)

    def overlays(maps: np.ndarray, layer: str, target: str) -> Described:
        heading = f"{method} at {layer} for the {target} class: {pair}"
        grid = overlay_grid(images, maps, titles, settings.columns, heading, settings.image_weight)
        alt = f"{method} maps at {layer} of {what}, brightest where there is most evidence for the {target} class."
        return described(grid, alt)

    named = "; ".join(f"{cut(row.true)} as {cut(row.predicted)} ({percent(row.confidence, 0)})" for row in rows[:NAMED])
    more = ", and so on" if len(rows) > NAMED else ""
    alt = f"Grid of {what}. True and predicted class, with confidence: {named}{more}."
    heading = f"Misclassified test images: {pair}"
    yield "misclassified", described(image_grid(images, titles, settings.columns, heading), alt)
    for layer, name in grids(settings.layers).items():
        yield name, overlays(mistakes.of_predicted[layer], layer, "predicted")
    yield "true", overlays(mistakes.of_true, settings.layers[-1], "true")
    matrix = layer_matrix(
        images[:MATRIX_ROWS],
        np.stack([mistakes.of_predicted[layer][:MATRIX_ROWS] for layer in settings.layers], axis=1),  # (R, L, S, S)
        titles[:MATRIX_ROWS],
        settings.layers,
        f"{method} by layer for the predicted class: {pair}",
        settings.image_weight,
    )
    alt = (
        f"Matrix of misclassified test images, one row per image: the image, then the {method} maps of the predicted "
        f"class at {', '.join(grids(settings.layers))}."
    )
    yield "layers", described(matrix, alt)


def image_grid(images: np.ndarray, titles: Sequence[str], columns: int, heading: str) -> Figure:
    """Images uint8 (N, S, S, 3) with their titles in a grid. Without images, the figure says so."""
    return _grid(images, None, titles, columns, heading, 1.0)


def overlay_grid(
    images: np.ndarray, maps: np.ndarray, titles: Sequence[str], columns: int, heading: str, image_weight: float
) -> Figure:
    """Maps (N, S, S) in [0, 1] over images uint8 (N, S, S, 3). `show` describes `image_weight`.

    Only the first LARGEST images are shown, and `maps` needs no more.
    """
    return _grid(images, maps, titles, columns, heading, image_weight)


def layer_matrix(
    images: np.ndarray,
    maps: np.ndarray,
    titles: Sequence[str],
    layers: Sequence[str],
    heading: str,
    image_weight: float,
) -> Figure:
    """One row per image: the image, then its overlay at each of L layers. `maps` is (N, L, S, S) in [0, 1]."""
    if len(images) == 0:
        return _nothing(heading)
    columns = 1 + len(layers)
    names = ["image", *(_layer_title(name) for name in layers)]
    lines = 1 + max(name.count("\n") for name in names)
    figure, sheet, corners = cells(
        len(images) * columns, columns, heading, head=HEAD + lines * LINE, left=1.35, title=0.0, bar=image_weight
    )
    for row, (image, title) in enumerate(zip(images, titles, strict=True)):
        first, *rest = corners[row * columns : (row + 1) * columns]
        show(sheet, first, image)
        sheet.text(first[0] - 0.08, first[1] + CELL / 2, title, fontsize=8, ha="right", va="center")
        for corner, values in zip(rest, maps[row], strict=True):
            show(sheet, corner, image, values, image_weight)
    for corner, name in zip(corners, names, strict=False):
        put_title(sheet, corner, name, fontsize=8, fontweight="bold")
    return figure


def pair_titles(predicted: Sequence[str], true: Sequence[str]) -> list[str]:
    """`predicted / true` of each image, in two lines if one is too long for its cell."""
    titles = []
    for guess, truth in zip(predicted, true, strict=True):
        one, other = plain(guess, 18), plain(truth, 18)
        titles.append(f"{one} / {other}" if len(guess) + len(truth) <= 15 else f"{one} /\n{other}")
    return titles


def prediction(image: np.ndarray, values: np.ndarray, title: str, image_weight: float) -> Described:
    """An image (S, S, 3) next to its overlay with the map `values` (S, S) of the predicted class."""
    figure, sheet, corners = cells(2, 2, title, head=HEAD, left=EDGE, title=0.0, bar=image_weight)
    show(sheet, corners[0], image)
    show(sheet, corners[1], image, values, image_weight)
    return Described(figure, "An image, then its class activation map for the predicted class.")


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
    figure, sheet, corners = cells(
        shown,
        min(columns, shown),
        heading,
        head=HEAD,
        left=EDGE,
        title=lines * LINE,
        bar=None if maps is None else image_weight,
    )
    for i, corner in enumerate(corners):
        show(sheet, corner, images[i], None if maps is None else maps[i], image_weight)
        put_title(sheet, corner, titles[i], fontsize=9)
    return figure


def cells(
    count: int, columns: int, heading: str, *, head: float, left: float, title: float, bar: float | None
) -> tuple[Figure, Axes, list[Corner]]:
    """A sheet with `head` inches for the heading and `count` cells, each with `title` inches above it.

    `bar` is the `image_weight` of the overlays, for the colour bar, or None for no bar.
    """
    rows = -(-count // columns)
    across, down = CELL + GAP, title + CELL + GAP
    width = max(left + columns * across + BAR, NARROWEST)  # the same with and without a bar, for figures side by side
    words = textwrap.wrap(heading, int((width - 2 * EDGE) / HEADING_LETTER))
    head += (len(words) - 1) * HEADING_LINE
    height = head + rows * down + EDGE
    figure, sheet = new_sheet(width, height)
    for i, line in enumerate(words):
        sheet.text(EDGE, 0.12 + i * HEADING_LINE, line, fontsize=10.5, fontweight="bold", va="top")
    corners = [(left + i % columns * across, head + title + i // columns * down) for i in range(count)]
    if bar is not None:
        x, y, length = left + columns * across + 0.05, head + title, min(2 * CELL, rows * CELL)
        axes = figure.add_axes((x / width, 1 - (y + length) / height, 0.12 / width, length / height))
        colours = figure.colorbar(ScalarMappable(cmap=_over_grey(bar)), cax=axes)
        colours.set_label("evidence", labelpad=-14)  # between the two tick labels
        colours.set_ticks([0, 1], labels=["least", "most"])
    return figure, sheet, corners


def show(
    sheet: Axes, corner: Corner, image: np.ndarray, values: np.ndarray | None = None, image_weight: float = 1.0
) -> None:
    """Draw an image (S, S, 3) in a cell, with the map `values` (S, S) in [0, 1] over it if there is one.

    `image_weight` is the share of the image where the map is 1. Where the map is 0, the image is unchanged.
    """
    put(sheet, image, *corner, CELL, interpolation="nearest")
    if values is not None:
        alpha = (1 - image_weight) * values
        put(sheet, values, *corner, CELL, cmap=COLOURS, vmin=0, vmax=1, alpha=alpha, interpolation="bilinear")


def _over_grey(image_weight: float) -> ListedColormap:
    """The colours of an overlay on a grey image."""
    evidence = np.linspace(0, 1, 256)
    opacity = ((1 - image_weight) * evidence)[:, None]
    return ListedColormap(opacity * COLOURS(evidence)[:, :3] + (1 - opacity) * 0.7)


def put_title(sheet: Axes, corner: Corner, text: str, **look: Any) -> None:
    """Write a text centred above a cell."""
    sheet.text(corner[0] + CELL / 2, corner[1] - 0.03, text, ha="center", va="bottom", **look)


def _layer_title(name: str) -> str:
    """The dotted name of a layer, in two lines if one is too long for its cell."""
    front, dot, back = name.rpartition(".")
    return name if len(name) <= 15 or not dot else f"{plain(front + dot, 18)}\n{plain(back, 18)}"


def _nothing(heading: str) -> Figure:
    figure = new_figure(6, 1.4)
    figure.text(0.03, 0.9, heading, fontsize=10.5, fontweight="bold", va="top")
    figure.text(0.5, 0.35, NO_MISTAKES, ha="center", va="center", color=MUTED)
    return figure
