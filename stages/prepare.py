"""One canonical form for all sources, and a look at it."""

import sys

import numpy as np
import torch

from src import artifacts
from src.data import prepared
from src.data.augmenters import make_augmenter
from src.data.prepare import prepare
from src.data.raw import RawData
from src.figures import prepare as figures
from src.figures import style
from src.params import Params
from stages import OLD_DATA, run_stage

COLUMNS = 10  # images in the grid of augmented samples
EPOCHS = (1, 2, 3, 4)  # its rows

FOLDER = artifacts.FIGURES / "prepare"


def main(params: Params) -> None:
    """Write data/prepared, figures/prepare and metrics/data.json."""
    ready, read = prepare(artifacts.RAW, params.data)
    prepared.save(ready, artifacts.PREPARED)
    draw(ready, params)
    sizes = {name: len(getattr(ready, name)) for name in prepared.SPLITS}
    artifacts.write_json(
        artifacts.METRICS / "data.json",
        {
            "source": ready.source,
            "digest": ready.digest,
            "classes": len(ready.classes),
            "size": ready.size,
            "share": params.data.share,
            **sizes,
            "unreadable": len(read.unreadable),
        },
    )
    print(
        f"{sum(sizes.values()):,} images of {len(ready.classes)} classes, {ready.size} x {ready.size}: "
        + ", ".join(f"{count:,} {name}" for name, count in sizes.items())
        + f"; {len(read.unreadable)} unreadable"
        + (f"; a share of {params.data.share:g} of all (data.share)" if params.data.share < 1 else "")
    )
    tell_left_out(read)


def draw(ready: prepared.Prepared, params: Params) -> None:
    """The figures: an image or more of each class as training sees it, and the sizes of the classes."""
    labels = ready.train.labels
    of_class = [np.flatnonzero(labels == label) for label in range(len(ready.classes))]
    turns = [(column % len(of_class), column // len(of_class)) for column in range(COLUMNS)]
    indices = np.array([of_class[label][turn] for label, turn in turns if turn < len(of_class[label])])
    images = ready.train.images[indices]
    augmenter = make_augmenter(params.augment, ready.size, params.data.split_seed)
    chosen = torch.from_numpy(indices)
    pixels = torch.from_numpy(ready.train.images)
    variants = torch.stack([augmenter(pixels, chosen, epoch) for epoch in EPOCHS]).numpy()
    names = [ready.classes[label] for label in labels[indices]]
    style.save(figures.augmented_grid(images, variants, names, EPOCHS), FOLDER / "augmented.png")
    counts = {name: np.bincount(getattr(ready, name).labels, minlength=len(ready.classes)) for name in prepared.SPLITS}
    style.save(figures.class_counts(ready.classes, counts), FOLDER / "class_counts.png")


def tell_left_out(read: RawData) -> None:
    """Name what was not used: nothing is dropped silently."""
    left_out = [f"{name}: {reason}" for name, reason in read.unreadable]
    left_out += [f"{name}: lies in no class folder" for name in read.ignored]
    for line in left_out[:10]:
        print(f"left out: {line}", file=sys.stderr)
    if len(left_out) > 10:
        print(f"left out: {len(left_out) - 10} more files", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main, OLD_DATA)
