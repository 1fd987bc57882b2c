"""What the maps of groups are worth, from each run's metrics/gradcam.json: src/explain/summary.py says what it holds.

What pixels do to the answer depends on the model first, on how sure it is and what blur does to it, and only then on
its maps. So groups are compared by how much better a run's maps are than random maps of the same model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.comparison.groups import Group, same_images
from src.comparison.runs import StoredRun
from src.comparison.statistics import Mean, mean_interval

# Name of a measure in gradcam.json -> how its column is called.
WORTH = {
    "road": "ROAD, gain ↑",
    "insertion": "insertion, gain ↑",
    "deletion": "deletion, gain ↑",
    "pointing_game": "pointing game, gain ↑",
    "energy": "energy on the object, gain ↑",
    "randomisation": "alike with random layers ↓",
}
# What decides which maps are measured, and with how many images.
SETTINGS = tuple(f"gradcam.{key}" for key in ("method", "layers", "aug_smooth", "eigen_smooth", "measure.images"))

Means = Mapping[str, Mapping[str, Mean]]  # by label of the group and name in WORTH


@dataclass(frozen=True)
class Worth:
    """Means over the runs of each group of the measures that all runs have; without any, `why`."""

    means: Means
    why: str = ""


def worth(groups: Sequence[Group]) -> Worth:
    """What the maps of each group are worth; nothing where runs measured other images or other maps."""
    runs = [run for group in groups for run in group.runs]
    if lacking := [run.name for run in runs if _value(run, "road") is None]:
        return Worth({}, f"{', '.join(lacking)} measured no maps, or with older code")
    if not same_images(runs):
        return Worth({}, "the runs saw different data or test images")
    if different := [key for key in SETTINGS if len({run.params.get(key) for run in runs}) > 1]:
        return Worth({}, f"the runs differ in {', '.join(different)}")
    values = {run.id: {name: found for name in WORTH if (found := _value(run, name)) is not None} for run in runs}
    shared = [name for name in WORTH if all(name in of_run for of_run in values.values())]
    return Worth(
        {
            group.label: {name: mean_interval([values[run.id][name] for run in group.runs]) for name in shared}
            for group in groups
        }
    )


def _value(run: StoredRun, name: str) -> float | None:
    """Of the maps of the main figures, the gain over random maps; of a random network, how alike its maps are.

    None where that was not measured, or noted in another way.
    """
    try:
        ours = run.gradcam[name]["methods"][run.gradcam["method"]][run.gradcam["layer"]]
        return float(ours["mean"] if name == "randomisation" else ours["better_than_random"]["mean"])
    except (KeyError, TypeError):
        return None
