"""Compare the quality of the maps of groups, from each run's metrics/gradcam.json (see src/explain/summary.py).

The measures depend more on the model than on its maps, for example on how confident it is and how it reacts to blur. So
groups are compared by the gain of a run's maps over random maps of the same model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.comparison.groups import Group, StoredRun, same_images
from src.statistics import Interval, mean_interval

# Name of a measure in gradcam.json -> title of its column.
TITLES = {
    "road": "ROAD, gain ↑",
    "insertion": "insertion, gain ↑",
    "deletion": "deletion, gain ↑",
    "pointing_game": "pointing game, gain ↑",
    "energy": "energy on the object, gain ↑",
    "randomisation": "correlation with a random network ↓",
}
# Parameters that decide which maps are measured, and on how many images.
SETTINGS = tuple(f"gradcam.{key}" for key in ("method", "layers", "aug_smooth", "eigen_smooth", "measure.images"))

Means = Mapping[str, Mapping[str, Interval]]  # by label of the group and name in TITLES


@dataclass(frozen=True)
class MapQuality:
    """Means over the runs of each group, of the measures that all runs have. `why` has the reason for none."""

    means: Means
    why: str = ""


def map_quality(groups: Sequence[Group]) -> MapQuality:
    """The quality of the maps of each group. Empty if runs measured other images or other maps."""
    runs = [run for group in groups for run in group.runs]
    if lacking := [run.name for run in runs if _value(run, "road") is None]:
        return MapQuality({}, f"these runs have no measures of maps, or only those of older code: {', '.join(lacking)}")
    if not same_images(runs):
        return MapQuality({}, "the runs have different data or test images")
    if different := [key for key in SETTINGS if len({run.params.get(key) for run in runs}) > 1]:
        return MapQuality({}, f"the runs differ in {', '.join(different)}")
    values = {run.id: {name: found for name in TITLES if (found := _value(run, name)) is not None} for run in runs}
    shared = [name for name in TITLES if all(name in of_run for of_run in values.values())]
    return MapQuality(
        {
            group.label: {name: mean_interval([values[run.id][name] for run in group.runs]) for name in shared}
            for group in groups
        }
    )


def _value(run: StoredRun, name: str) -> float | None:
    """The gain over random maps of the maps in the main figures, or their correlation with those of a random network.

    None if it was not measured.
    """
    ours = None if run.gradcam is None else run.gradcam.own(name)
    estimate = ours if ours is None or name == "randomisation" else ours.better_than_random
    return None if estimate is None else estimate.mean
