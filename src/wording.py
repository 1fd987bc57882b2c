"""Formats of values in reports, figures and printed lines."""

from collections.abc import Mapping
from typing import Any

# Key of `duplicates` in metrics/data.json -> the images that are counted, and the place of their copies.
COPIES = {
    "train_test": ("test image", "among the training images"),
    "train_val": ("validation image", "among the training images"),
    "val_test": ("test image", "among the validation images"),
    "two_labels": ("image", "with a copy under another label"),
}


def percent(share: float | str, digits: int = 2) -> str:
    """Format a fraction as a percentage. An empty cell becomes a dash. 0.9214 -> 92.14 %"""
    return "–" if share == "" else f"{100 * float(share):.{digits}f} %"


def points(difference: float) -> str:
    """Format the difference of two fractions in percentage points. -0.0115 -> −1.15 points"""
    return f"{100 * difference:+z.2f} points".replace("-", "−")


def number(value: float | str, digits: int = 4) -> str:
    """Format a number with `digits` significant digits. An empty cell becomes a dash."""
    return "–" if value == "" else f"{float(value):.{digits}g}"


def hundredths(value: float) -> str:
    """Format a number with two decimals. -0.123 -> −0.12"""
    return f"{value:z.2f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Format a duration in seconds. 75 -> 1 min 15 s"""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def shown(value: object) -> str:
    """Format a parameter as in params.yaml, a list on one line. An empty text becomes a dash."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    return "–" if value == "" else str(value)


def listed(values: Mapping[str, float]) -> str:
    """Names with numbers for a sentence, or `none`. {'valley': 0.0123} -> valley 0.0123"""
    return ", ".join(f"{name} {number(value, 3)}" for name, value in values.items()) or "none"


def counted(count: int, noun: str) -> str:
    """A number with its noun. 1, file -> 1 file; 1200, file -> 1,200 files"""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def copies_found(duplicates: Mapping[str, Any]) -> list[str]:
    """Describe `duplicates` of metrics/data.json, one text per kind of copy. [] if there are none.

    {'train_test': 3, 'two_labels': 0, ...} -> ['3 test images among the training images']
    """
    return [f"{counted(duplicates[name], noun)} {where}" for name, (noun, where) in COPIES.items() if duplicates[name]]


def norm_name(norm: str) -> str:
    """The parameter `norm` as words of a sentence. layer -> layer norm; none -> no norm"""
    return "no norm" if norm == "none" else f"{norm} norm"
