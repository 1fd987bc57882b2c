"""What `prepare` found in the images: the content of metrics/data.json, and the lines that the stage prints."""

from collections.abc import Sequence

import numpy as np

from src import results
from src.data.duplicates import Duplicates
from src.data.layout import listed
from src.data.prepared import SPLITS, Prepared
from src.data.raw import RawData
from src.errors import printable
from src.results import ClassCounts, DataSet, LeftOut

IMBALANCED = 5  # a note is printed if the largest class has more than this many times the images of the smallest
SHOWN_CLASSES = 20  # in the printed table
EXAMPLES = 3  # files per reason
REASONS = 10  # listed reasons for leaving files out, most files first; the others count as one
SPLIT_NAMES = {"val": "validation", "test": "test"}  # in notes


def summarise(ready: Prepared, read: RawData, duplicates: Duplicates, share: float) -> DataSet:
    """The content of metrics/data.json. `share` is data.share."""
    counts = counts_by_class(ready)
    return DataSet(
        source=ready.source,
        digest=ready.digest,
        classes=len(ready.classes),
        size=ready.size,
        share=share,
        train=len(ready.train),
        val=len(ready.val),
        test=len(ready.test),
        unreadable=len(read.unreadable),
        layout=read.layout,
        counts=counts,
        left_out=group_left_out(read),
        notes=[*read.notes, *warn_of_counts(counts)],
        duplicates=results.Duplicates.model_validate(duplicates.record()),
    )


def overview(data: DataSet) -> list[str]:
    """Lines about layout, sizes and classes, and the notes."""
    return [
        *([f"layout: {data.layout}"] if data.layout else []),
        f"{data.train + data.val + data.test:,} images of {data.classes} classes, {data.size} x {data.size}: "
        f"{data.train:,} train, {data.val:,} val, {data.test:,} test"
        + (f". This is a share of {data.share:g} (data.share)" if data.share < 1 else ""),
        *class_table(data.counts),
        *(f"note: {note}" for note in data.notes),
    ]


def problems(data: DataSet, duplicates: Duplicates) -> list[str]:
    """Lines about files that were left out, and about duplicates."""
    lines = []
    for group in data.left_out:
        more = group.files - len(group.examples)
        names = ", ".join(group.examples) + (f" and {more:,} more" if more else "")
        lines.append(f"left out ({group.reason}): {names}")
    return lines + [f"duplicates: {printable(line)}" for line in duplicates.lines()]


def counts_by_class(ready: Prepared) -> list[ClassCounts]:
    """One row per class: its name and its number of images in each split."""
    counts = {name: np.bincount(getattr(ready, name).labels, minlength=len(ready.classes)) for name in SPLITS}
    return [
        ClassCounts(name=label, **{name: int(count[index]) for name, count in counts.items()})
        for index, label in enumerate(ready.classes)
    ]


def warn_of_counts(counts: Sequence[ClassCounts]) -> list[str]:
    """Notes about classes that a split lacks, and about very different class sizes."""
    missing = {split: [row.name for row in counts if not getattr(row, split)] for split in ("val", "test")}
    found = [
        f"the {SPLIT_NAMES[split]} split has no image of {listed(names)}"
        for split, names in missing.items()
        if 0 < len(names) < len(counts)
    ]
    sizes = sorted((row.train, row.name) for row in counts)
    (least, rarest), (most, commonest) = sizes[0], sizes[-1]
    if most > IMBALANCED * least:
        found.append(
            f"{commonest} has {most / max(least, 1):.1f} times as many training images as {rarest} ({most:,} and "
            f"{least:,}). Look at balanced accuracy and macro F1, and try -S train.class_weights=balanced"
        )
    return found


def class_table(counts: Sequence[ClassCounts]) -> list[str]:
    """A table of the classes as lines, shortened before its last row."""
    shown = list(counts) if len(counts) <= SHOWN_CLASSES else [*counts[: SHOWN_CLASSES - 1], counts[-1]]
    names = [printable(row.name) for row in shown]
    width = max(5, *(min(len(name), 40) for name in names))
    lines = [f"  {'class':<{width}} {'train':>9} {'val':>9} {'test':>9}"]
    for name, row in zip(names, shown, strict=True):
        name = name if len(name) <= width else f"{name[: width - 1]}…"
        lines.append(f"  {name:<{width}} {row.train:>9,} {row.val:>9,} {row.test:>9,}")
    if len(shown) < len(counts):
        lines.insert(-1, f"  ... {len(counts) - len(shown):,} more classes (metrics/data.json lists all)")
    return lines


def group_left_out(read: RawData) -> list[LeftOut]:
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
        LeftOut(reason=reason, files=len(names), examples=[printable(name) for name in names[:EXAMPLES]])
        for reason, names in ordered
    ]
