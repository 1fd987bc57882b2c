"""One self-contained HTML page about one run: data in, text out."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

DPI = 150  # of the figures

Row = Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """Everything that the page shows; the mappings hold what the stages wrote into the files of the same name."""

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    lr_range: Mapping[str, Any]
    train: Mapping[str, Any]
    test: Mapping[str, Any]
    gradcam: Mapping[str, Any]
    history: Sequence[Row]
    per_class: Sequence[Row]
    misclassified: Sequence[Row]
    model_summary: str
    figures: Mapping[str, bytes]  # PNG by name, e.g. `evaluate/reliability`
    params: Mapping[str, Any]  # by dotted key
    changed: Mapping[str, Any]  # the keys whose value is not the committed one -> the committed value
    network_options: str  # how the network is not the plain one: ', standardised weights' or ''
    reference: str  # what the result to compare with is called, '' where there is none; the rest is in `params`
    recipe_changes: Mapping[str, tuple[Any, Any]] | None  # (recipe's value, ours); None: its file is not known
    data_name: str
    name: str  # of the experiment
    command: str  # that runs it again
    commit: str  # '' where there is no git
    versions: str
    date: str


def render(run: Run) -> str:
    """The page. It needs no other file and no network: figures are data URIs, styles are inline, there is no script."""
    environment = Environment(
        loader=PackageLoader("src.report", ""),
        autoescape=True,  # a class may be called <b>
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        f.__name__: f for f in (percent, points, duration, number, shown, listed, data_uri, css_width)
    }
    return environment.get_template("template.html.j2").render(run=run, groups=grouped(run.params))


def percent(share: float | str, digits: int = 2) -> str:
    """A fraction as a percentage, a dash for an empty cell. 0.9214 -> 92.14 %"""
    return "–" if share == "" else f"{100 * float(share):.{digits}f} %"


def points(difference: float) -> str:
    """The difference of two fractions in points of a percentage. -0.0115 -> −1.15 points"""
    return f"{100 * difference:+.2f} points".replace("-", "−")


def number(value: float | str, digits: int = 4) -> str:
    """A number to `digits` significant digits, a dash for an empty cell."""
    return "–" if value == "" else f"{float(value):.{digits}g}"


def duration(seconds: float) -> str:
    """Seconds as a person says them. 75 -> 1 min 15 s"""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def shown(value: object) -> str:
    """A parameter as params.yaml has it, a list on one line, a dash for an empty text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    return "–" if value == "" else str(value)


def listed(values: Mapping[str, float]) -> str:
    """Names and numbers in a sentence. {'valley': 0.0123} -> valley 0.0123"""
    return ", ".join(f"{name} {number(value, 3)}" for name, value in values.items())


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds the image itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def css_width(png: bytes) -> int:
    """Width at which a PNG has its natural size, so that the letters of all figures are equally large."""
    pixels = int.from_bytes(png[16:20], "big")  # of the header, RFC 2083 section 4.1.1
    return round(pixels * 96 / DPI)  # CSS has 96 pixels an inch


def grouped(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Parameters by the first part of their key; those without a group come first, under `general`."""
    groups: dict[str, dict[str, Any]] = {"general": {}}
    for key, value in params.items():
        group = key.partition(".")[0] if "." in key or isinstance(value, list) else "general"
        groups.setdefault(group, {})[key] = value
    return groups
