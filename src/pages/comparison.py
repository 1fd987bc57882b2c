"""A comparison as one self-contained HTML page."""

from collections.abc import Mapping

from src.comparison.classes import spread
from src.comparison.groups import agreement, same_images
from src.comparison.result import Comparison
from src.comparison.tables import (
    DIFFERENCES,
    SAME_IMAGES,
    cells,
    difference_rows,
    header,
    quality_rows,
    same_image_rows,
)
from src.comparison.words import interval, p_value, plus_minus
from src.explain.agreement import CHANCE
from src.pages.base import fill
from src.pages.pictures import pictures


def to_html(comparison: Comparison, figures: Mapping[str, bytes]) -> str:
    """Return the page with `figures`, PNG files by name. It needs no other file and no network."""
    whole = same_images([run for group in comparison.groups for run in group.runs])
    return fill(
        "comparison.html.j2",
        p_value,
        spread,
        interval,
        plus_minus,
        comparison=comparison,
        header=header(comparison.targets),
        rows=[cells(group, comparison.targets) for group in comparison.groups],
        differences=DIFFERENCES,
        difference_rows=difference_rows(comparison.pairs),
        same_images=SAME_IMAGES,
        same_image_rows=same_image_rows(comparison.pairs),
        agreements=[[agreement(a, b) for b in comparison.groups] for a in comparison.groups] if whole else [],
        classes=comparison.classes,
        compared=[pair for pair in comparison.pairs if pair.classes],
        maps=comparison.maps,
        worth=quality_rows(comparison.map_quality.means),
        chance=CHANCE,
        pictures=pictures(figures),
    )
