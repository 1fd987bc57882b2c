"""Convert the raw data to one canonical form, and draw figures of it."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from src import artifacts
from src.data import prepared
from src.data.augmenters import make_augmenter
from src.data.layout import listed
from src.data.prepare import prepare
from src.data.raw import RawData
from src.errors import printable
from src.figures import prepare as figures
from src.figures import style
from src.params import Params
from stages import OLD_DATA, run_stage

COLUMNS = 10  # images in the grid of augmented samples
EPOCHS = (1, 2, 3, 4)  # its rows

IMBALANCED = 5  # a note is printed if the largest class has more than this many times the images of the smallest
SHOWN_CLASSES = 20  # in the printed table
EXAMPLES = 3  # files per reason
REASONS = 10  # listed reasons for leaving files out, most files first; the others count as one

FOLDER = artifacts.FIGURES / "prepare"
SPLIT_NAMES = {"val": "validation", "test": "test"}  # in notes


def main(params: Params) -> None:
    """Write data/prepared, figures/prepare and metrics/data.json."""
    ready, read, duplicates = prepare(artifacts.RAW, params.data)
    prepared.save(ready, artifacts.PREPARED)
    counts = counts_by_class(ready)
    draw(ready, counts, params)
    sizes = {name: len(getattr(ready, name)) for name in prepared.SPLITS}
    notes = [*read.notes, *warn_of_counts(counts)]
    left_out = group_left_out(read)
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
            "layout": read.layout,
            "counts": counts,
            "left_out": left_out,
            "notes": notes,
            "duplicates": duplicates.record(),
        },
    )
    if read.layout:
        print(f"layout: {read.layout}")
    print(
        f"{sum(sizes.values()):,} images of {len(ready.classes)} classes, {ready.size} x {ready.size}: "
        + ", ".join(f"{count:,} {name}" for name, count in sizes.items())
        + (f". This is a share of {params.data.share:g} (data.share)" if params.data.share < 1 else "")
    )
    print_counts(counts)
    for line in notes:
        print(f"note: {line}")
    for group in left_out:
        more = group["files"] - len(group["examples"])
        names = ", ".join(group["examples"]) + (f" and {more:,} more" if more else "")
        print(f"left out ({group['reason']}): {names}", file=sys.stderr)
    for line in duplicates.lines():
        print(f"duplicates: {printable(line)}", file=sys.stderr)


def counts_by_class(ready: prepared.Prepared) -> list[dict[str, str | int]]:
    """One row per class: its name and its number of images in each split."""
    counts = {name: np.bincount(getattr(ready, name).labels, minlength=len(ready.classes)) for name in prepared.SPLITS}
    return [
        {"class": label, **{name: int(count[index]) for name, count in counts.items()}}
        for index, label in enumerate(ready.classes)
    ]


def warn_of_counts(counts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Notes about classes that a split lacks, and about very different class sizes."""
    missing = {split: [row["class"] for row in counts if not row[split]] for split in ("val", "test")}
    found = [
        f"the {SPLIT_NAMES[split]} split has no image of {listed(names)}"
        for split, names in missing.items()
        if 0 < len(names) < len(counts)
    ]
    sizes = sorted((row["train"], row["class"]) for row in counts)
    (least, rarest), (most, commonest) = sizes[0], sizes[-1]
    if most > IMBALANCED * least:
        found.append(
            f"{commonest} has {most / max(least, 1):.1f} times as many training images as {rarest} ({most:,} and "
            f"{least:,}). Look at balanced accuracy and macro F1, and try -S train.class_weights=balanced"
        )
    return found


def print_counts(counts: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of the classes, shortened before its last row."""
    shown = list(counts) if len(counts) <= SHOWN_CLASSES else [*counts[: SHOWN_CLASSES - 1], counts[-1]]
    names = [printable(str(row["class"])) for row in shown]
    width = max(5, *(min(len(name), 40) for name in names))
    print(f"  {'class':<{width}} {'train':>9} {'val':>9} {'test':>9}")
    for name, row in zip(names, shown, strict=True):
        if row is shown[-1] and len(shown) < len(counts):
            print(f"  ... {len(counts) - len(shown):,} more classes (metrics/data.json lists all)")
        name = name if len(name) <= width else f"{name[: width - 1]}…"
        print(f"  {name:<{width}} {row['train']:>9,} {row['val']:>9,} {row['test']:>9,}")


def group_left_out(read: RawData) -> list[dict[str, Any]]:
    """The reasons for unused files, most files first, each with the number and some names of its files."""
    groups: dict[str, list[str]] = {}
    for name, reason in read.unreadable.items():
        groups.setdefault(f"unreadable: {reason}", []).append(name)
    for name, reason in read.left_out.items():
        groups.setdefault(reason, []).append(name)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    if len(ordered) > REASONS:
        rest = [name for _, names in ordered[REASONS - 1 :] for name in names]
        ordered[REASONS - 1 :] = [(f"{len(ordered) - REASONS + 1} other reasons", rest)]
    return [
        {"reason": reason, "files": len(names), "examples": [printable(name) for name in names[:EXAMPLES]]}
        for reason, names in ordered
    ]


def draw(ready: prepared.Prepared, counts: Sequence[Mapping[str, Any]], params: Params) -> None:
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
    by_split = {name: np.array([row[name] for row in counts]) for name in prepared.SPLITS}
    style.save(figures.class_counts(ready.classes, by_split), FOLDER / "class_counts.png")


if __name__ == "__main__":
    run_stage(main, OLD_DATA)
