"""One self-contained HTML page about one run. Takes data and returns text."""

from collections.abc import Mapping
from typing import Any

from src.pages.alt import texts
from src.pages.base import fill
from src.pages.content import Run
from src.pages.pictures import pictures
from src.wording import (
    copies_found,
    counted,
    duration,
    hundredths,
    listed,
    norm_name,
    number,
    percent,
    points,
    shown,
)

COPIES_SHOWN = 6  # of each image in the list of duplicates


def render(run: Run) -> str:
    """Return the page, which has less than 5 MB and needs no other file and no network.

    Figures are data URIs, styles are inline, and there is no script.
    """
    return fill(
        "run.html.j2",
        (percent, points, hundredths, duration, number, norm_name, shown, listed, counted, copies_found),
        run=run,
        counts={row["class"]: row for row in run.data["counts"]},
        shown_copies=COPIES_SHOWN,
        groups=grouped(run.params),
        pictures=pictures(run.figures),
        alt=texts(run),
        measures={
            name: section
            for name, section in run.gradcam.items()
            if isinstance(section, Mapping) and "methods" in section
        },
    )


def grouped(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Parameters by the first part of their key. Those without a group come first, under `general`."""
    groups: dict[str, dict[str, Any]] = {"general": {}}
    for key, value in params.items():
        group = key.partition(".")[0] if "." in key or isinstance(value, list) else "general"
        groups.setdefault(group, {})[key] = value
    return groups
