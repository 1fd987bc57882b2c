"""One self-contained HTML page about one run. Takes data and returns text."""

from collections.abc import Mapping
from typing import Any

from src.pages.base import fill
from src.pages.content import Run
from src.pages.pictures import pictures
from src.yaml_files import flatten

COPIES_SHOWN = 6  # of each image in the list of duplicates


def render(run: Run) -> str:
    """Return the page, which has less than 5 MB and needs no other file and no network.

    Figures are data URIs, styles are inline, and there is no script.
    """
    return fill(
        "run.html.j2",
        run=run,
        counts={row.name: row for row in run.data.counts},
        shown_copies=COPIES_SHOWN,
        groups=grouped(flatten(run.params.model_dump())),
        pictures=pictures(run.figures),
    )


def grouped(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Parameters by the first part of their key. Those without a group come first, under `general`."""
    groups: dict[str, dict[str, Any]] = {"general": {}}
    for key, value in params.items():
        group = key.partition(".")[0] if "." in key or isinstance(value, list) else "general"
        groups.setdefault(group, {})[key] = value
    return groups
