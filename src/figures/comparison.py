"""Draw all figures of a comparison."""

from src.comparison.result import Comparison
from src.figures import compare, maps
from src.figures.style import Described

CLASSES = 20  # in a figure, the classes that differ most; the tables have all
PAIRS = 6  # panels in the figure of differences


def draw(comparison: Comparison) -> dict[str, Described]:
    """Return the figures by name, without those that have nothing to show."""
    figures = {}
    metrics = ("val/accuracy", "val/loss")
    curves = {g.label: {name: [run.curves[name] for run in g.runs] for name in metrics} for g in comparison.groups}
    if any(run for of_group in curves.values() for run in of_group["val/accuracy"]):
        figures["curves"] = compare.curves(curves)
    if comparison.classes:
        figures["classes"] = compare.classes(dict(list(comparison.classes.items())[:CLASSES]))
    if compared := [pair for pair in comparison.pairs if pair.classes]:
        pairs = compared[:PAIRS]
        largest = {name: max(abs(pair.classes[name].mean) for pair in pairs) for name in pairs[0].classes}
        names = sorted(largest, key=lambda name: -largest[name])[:CLASSES]
        figures["differences"] = compare.differences(
            {f"{pair.second.label} − {pair.first.label}": {n: pair.classes[n] for n in names} for pair in pairs},
            [pair.class_sentence for pair in compared],
        )
    if comparison.maps:
        figures["agreement"] = maps.agreement(comparison.maps)
        figures["maps"] = maps.side_by_side(comparison.maps)
    return figures
