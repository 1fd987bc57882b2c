"""Figures of the data: augmented training images, and the number of images per class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from src.figures.style import BLUE, GREEN, ORANGE, Described, new_figure, new_sheet, plain, put
from src.wording import split_sizes

SHOWN_CLASSES = 40  # bars beyond that are too thin to read

# Lengths in inches, of the grid.
CELL, GAP, LEFT, HEAD = 0.92, 0.08, 0.85, 0.62


def augmented_grid(
    images: npt.NDArray[np.uint8],
    variants: npt.NDArray[np.uint8],
    names: Sequence[str],
    epochs: Sequence[int],
    steps: Sequence[str],
) -> Described:
    """Original images and their augmentations, one column per image and one row per epoch.

    `images` (N, S, S, 3) have the class `names`. `variants` is (V, N, S, S, 3), one row for each of `epochs`. `steps`
    are the names of the augmentations.
    """
    rows = {"original": images} | {f"epoch {epoch}": row for epoch, row in zip(epochs, variants, strict=True)}
    figure, sheet = new_sheet(LEFT + len(images) * (CELL + GAP) + GAP, HEAD + len(rows) * (CELL + GAP) + GAP)
    sheet.text(0.15, 0.12, "Training images and their augmentation", fontsize=11, fontweight="bold", va="top")
    for row, (label, line) in enumerate(rows.items()):
        y = HEAD + row * (CELL + GAP)
        sheet.text(LEFT - 0.08, y + CELL / 2, label, ha="right", va="center")
        for column, image in enumerate(line):
            put(sheet, image, LEFT + column * (CELL + GAP), y, CELL, interpolation="nearest")
    for column, name in enumerate(names):
        x = LEFT + column * (CELL + GAP) + CELL / 2
        sheet.text(x, HEAD - 0.05, plain(name, 12), ha="center", va="bottom", fontsize=8.5)
    how = f"after {', '.join(steps)} in several epochs" if steps else "unchanged, because there is no augmentation"
    size = images.shape[1]
    return Described(
        figure,
        f"Training images of {size} x {size} pixels, one column per image. First row: original. Other rows: {how}.",
    )


def class_counts(classes: Sequence[str], counts: dict[str, npt.NDArray[np.int64]]) -> Described:
    """Stacked bars of the number of images per class, or of the largest classes if there are many.

    `counts` has the counts (C,) of the splits train, val and test.
    """
    totals = np.sum(list(counts.values()), axis=0)
    order = np.arange(len(classes))
    if len(classes) > SHOWN_CLASSES:
        order = np.argsort(-totals, kind="stable")[:SHOWN_CLASSES]
    figure = new_figure(7.5, 1.3 + 0.27 * len(order))
    ax = figure.subplots()
    left = np.zeros(len(order))
    for (split, numbers), colour in zip(counts.items(), (BLUE, ORANGE, GREEN), strict=True):
        ax.barh(
            np.arange(len(order)), numbers[order], left=left, color=colour, label=f"{split} ({int(numbers.sum()):,})"
        )
        left += numbers[order]
    ax.set_yticks(np.arange(len(order)), [plain(classes[label], 24) for label in order.tolist()])
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.set_xlabel("images")
    shown = f", the {SHOWN_CLASSES} largest of {len(classes):,} classes" if len(classes) > SHOWN_CLASSES else ""
    ax.set_title(f"Images per class{shown}", loc="left")
    figure.legend(loc="outside lower center", ncols=len(counts))
    sizes = split_sizes(*(int(counts[split].sum()) for split in ("train", "val", "test")))
    low, high = int(counts["test"].min()), int(counts["test"].max())
    per_class = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return Described(
        figure,
        f"Stacked bars of the number of images in {len(classes):,} classes. In total there are {sizes}, {per_class} "
        "per class.",
    )
