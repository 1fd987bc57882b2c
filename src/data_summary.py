"""What `prepare` found in the images: the content of metrics/data.json, and the lines that the stage prints."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from src.data.duplicates import Duplicates
from src.data.layout import listed
from src.data.prepared import SPLITS, Prepared
from src.data.raw import RawData
from src.errors import printable

IMBALANCED = 5  # a note is printed if the largest class has more than this many times the images of the smallest
SHOWN_CLASSES = 20  # in the printed table
EXAMPLES = 3  # files per reason
REASONS = 10  # listed reasons for leaving files out, most files first; the others count as one
SPLIT_NAMES = {"val": "validation", "test": "test"}  # in notes


def summarise(ready: Prepared, read: RawData, duplicates: Duplicates, share: float) -> dict[str, Any]:
    """The content of metrics/data.json. `share` is data.share."""
    counts = counts_by_class(ready)
    return {
        "source": ready.source,
        "digest": ready.digest,
        "classes": len(ready.classes),
        "size": ready.size,
        "share": share,
        **{name: len(getattr(ready, name)) for name in SPLITS},
        "unreadable": len(read.unreadable),
        "layout": read.layout,
        "counts": counts,
        "left_out": group_left_out(read),
        "notes": [*read.notes, *warn_of_counts(counts)],
        "duplicates": duplicates.record(),
    }


def overview(summary: Mapping[str, Any]) -> list[str]:
    """Lines about layout, sizes and classes, and the notes."""
    sizes = {name: summary[name] for name in SPLITS}
    return [
        *([f"layout: {summary['layout']}"] if summary["layout"] else []),
        f"{sum(sizes.values()):,} images of {summary['classes']} classes, {summary['size']} x {summary['size']}: "
        + ", ".join(f"{count:,} {name}" for name, count in sizes.items())
        + (f". This is a share of {summary['share']:g} (data.share)" if summary["share"] < 1 else ""),
        *class_table(summary["counts"]),
        *(f"note: {note}" for note in summary["notes"]),
    ]


def problems(summary: Mapping[str, Any], duplicates: Duplicates) -> list[str]:
    """Lines about files that were left out, and about duplicates."""
    lines = []
    for group in summary["left_out"]:
        more = group["files"] - len(group["examples"])
        names = ", ".join(group["examples"]) + (f" and {more:,} more" if more else "")
        lines.append(f"left out ({group['reason']}): {names}")
    return lines + [f"duplicates: {printable(line)}" for line in duplicates.lines()]


def counts_by_class(ready: Prepared) -> list[dict[str, str | int]]:
    """One row per class: its name and its number of images in each split."""
    counts = {name: np.bincount(getattr(ready, name).labels, minlength=len(ready.classes)) for name in SPLITS}
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


def class_table(counts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of the classes as lines, shortened before its last row."""
    shown = list(counts) if len(counts) <= SHOWN_CLASSES else [*counts[: SHOWN_CLASSES - 1], counts[-1]]
    names = [printable(str(row["class"])) for row in shown]
    width = max(5, *(min(len(name), 40) for name in names))
    lines = [f"  {'class':<{width}} {'train':>9} {'val':>9} {'test':>9}"]
    for name, row in zip(names, shown, strict=True):
        name = name if len(name) <= width else f"{name[: width - 1]}…"
        lines.append(f"  {name:<{width}} {row['train']:>9,} {row['val']:>9,} {row['test']:>9,}")
    if len(shown) < len(counts):
        lines.insert(-1, f"  ... {len(counts) - len(shown):,} more classes (metrics/data.json lists all)")
    return lines


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
