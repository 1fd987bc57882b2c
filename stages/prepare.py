"""Convert the raw data to one canonical form, and draw figures of it."""

import sys
from collections.abc import Sequence

import numpy as np
import torch

from src import artifacts
from src.data import prepared
from src.data.augmenters import make_augmenter
from src.data.prepare import prepare
from src.data_summary import overview, problems, summarise
from src.figures import prepare as figures
from src.figures import style
from src.params import Params
from src.results import ClassCounts
from src.runtime.run import OLD_DATA, run_stage

COLUMNS = 10  # images in the grid of augmented samples
EPOCHS = (1, 2, 3, 4)  # its rows
FOLDER = artifacts.FIGURES / "prepare"


def main(params: Params) -> None:
    """Write data/prepared, figures/prepare and metrics/data.json."""
    ready, read, duplicates = prepare(artifacts.RAW, params.data)
    prepared.save(ready, artifacts.PREPARED)
    summary = summarise(ready, read, duplicates, params.data.share)
    draw(ready, summary.counts, params)
    summary.write()
    for line in overview(summary):
        print(line)
    for line in problems(summary, duplicates):
        print(line, file=sys.stderr)


def draw(ready: prepared.Prepared, counts: Sequence[ClassCounts], params: Params) -> None:
    """Draw the figures: augmented training images of each class, and the class sizes."""
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
    steps = [str(step["name"]) for step in params.augment]
    style.save(figures.augmented_grid(images, variants, names, EPOCHS, steps), FOLDER / "augmented.png")
    by_split = {name: np.array([getattr(row, name) for row in counts]) for name in prepared.SPLITS}
    style.save(figures.class_counts(ready.classes, by_split), FOLDER / "class_counts.png")


if __name__ == "__main__":
    run_stage(main, OLD_DATA)
