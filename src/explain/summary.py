"""The measures in metrics/gradcam.json: each as a mean over images, with its interval and its curve."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from src.explain.cams import ONE_BY_ONE
from src.explain.faithfulness import SHARES, STEPS, area
from src.explain.measure import CENTRE, RANDOM, Marks, Pair
from src.explain.sanity import CASCADE
from src.results import Estimate, MapEstimate, MapMeasure
from src.statistics import CONFIDENCE, Interval, mean_interval

DIGITS = 5  # decimals of the numbers in the file


@dataclass(frozen=True)
class Measure:
    """One number for each image of each map, with its description."""

    title: str
    what: str
    higher_is_better: bool
    bounds: tuple[float, float]
    values: Callable[[Marks], np.ndarray | None]  # (N,); None if it was not measured
    curves: Callable[[Marks], Mapping[str, np.ndarray]]  # (N, points of x)
    x: Sequence[float | str]

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.higher_is_better else -1


MEASURES = {
    "road": Measure(
        "ROAD",
        "Probability of the predicted class without the least relevant pixels, minus that without the most relevant "
        "ones. Removed pixels are imputed from their neighbours with noise. Mean over the shares removed. The range is "
        "−1 to 1, and random maps have 0 on average.",
        True,
        (-1, 1),
        lambda marks: (marks.removed[:, 1] - marks.removed[:, 0]).mean(axis=1),
        lambda marks: {"most_relevant_first": marks.removed[:, 0], "least_relevant_first": marks.removed[:, 1]},
        SHARES,
    ),
    "insertion": Measure(
        "insertion",
        "Area under the probability of the predicted class while a blurred image becomes sharp, most relevant pixels "
        "first. The range is 0 to 1.",
        True,
        (0, 1),
        lambda marks: area(marks.insertion),
        lambda marks: {"probability": marks.insertion},
        tuple(step / STEPS for step in range(STEPS + 1)),
    ),
    "deletion": Measure(
        "deletion",
        "Area under the probability of the predicted class while pixels change to the mean colour of the training "
        "images, most relevant first. The range is 0 to 1.",
        False,
        (0, 1),
        lambda marks: area(marks.deletion),
        lambda marks: {"probability": marks.deletion},
        tuple(step / STEPS for step in range(STEPS + 1)),
    ),
    "pointing_game": Measure(
        "pointing game",
        "Share of images whose map of the predicted class has its maximum on the object, without tolerance. The range "
        "is 0 to 1.",
        True,
        (0, 1),
        lambda marks: marks.pointing,
        lambda marks: {},
        (),
    ),
    "energy": Measure(
        "energy on the object",
        "Share of the sum of the map of the predicted class that lies on the object. The range is 0 to 1.",
        True,
        (0, 1),
        lambda marks: marks.energy,
        lambda marks: {},
        (),
    ),
    "randomisation": Measure(
        "correlation with a random network",
        "Spearman's rank correlation of the maps with those of one random network, which has the same layers with "
        "weights drawn once. The range is −1 to 1, and 1 means that the maps do not depend on the weights. "
        f"{' and '.join(ONE_BY_ONE)} are not tested (null), because that takes too long.",
        False,
        (-1, 1),
        lambda marks: marks.similar["rank_correlation"][:, -1] if marks.similar else None,
        lambda marks: marks.similar,
        tuple(CASCADE),
    ),
}


def over_images(values: np.ndarray, level: float = CONFIDENCE) -> Interval:
    """Mean of `values` (N,) over images with its t-interval at `level`, without bounds if all values are equal."""
    return Interval(float(values.mean())) if np.ptp(values) == 0 else mean_interval(values, level)


def gain(measure: Measure, marks: Marks, other: Marks, level: float = CONFIDENCE) -> Interval | None:
    """The mean advantage of `marks` over `other`, image by image. Above 0 is better for every measure."""
    ours, theirs = measure.values(marks), measure.values(other)
    return None if ours is None or theirs is None else over_images(measure.sign * (ours - theirs), level)


def summarise(found: Mapping[Pair, Marks]) -> dict[str, MapMeasure | None]:
    """Summarise each measure by method and layer, and its baselines. None for a measure that was not taken.

    The entry of a method and layer is None if the measure was only taken for others. `better_than_random` and
    `better_than_centre` are mean differences over the same images, above 0 if the map is better. Without `found` all
    measures are None.
    """
    return {name: _section(measure, found) for name, measure in MEASURES.items()}


def _section(measure: Measure, found: Mapping[Pair, Marks]) -> MapMeasure | None:
    if all(measure.values(marks) is None for marks in found.values()):
        return None
    methods: dict[str, dict[str, MapEstimate | None]] = {}
    baselines: dict[str, dict[str, MapEstimate]] = {}
    for (method, layer), marks in found.items():
        if method not in (RANDOM, CENTRE):
            rivals = {baseline: found[baseline, layer] for baseline in (RANDOM, CENTRE)}
            methods.setdefault(method, {})[layer] = _estimate(measure, marks, rivals)
        elif (estimate := _estimate(measure, marks)) is not None:
            baselines.setdefault(method, {})[layer] = estimate
    return MapMeasure(
        title=measure.title,
        what=measure.what,
        higher_is_better=measure.higher_is_better,
        x=list(measure.x),
        baselines=baselines,
        methods=methods,
    )


def _estimate(measure: Measure, marks: Marks, rivals: Mapping[str, Marks] | None = None) -> MapEstimate | None:
    """The mean of a measure over images, with its advantage over each of `rivals`. None if it was not taken."""
    values = measure.values(marks)
    if values is None:
        return None
    curves = {
        name: [round(float(y), DIGITS) for y in curve.mean(axis=0)] for name, curve in measure.curves(marks).items()
    }
    gains = {name: gain(measure, marks, rival) for name, rival in (rivals or {}).items()}
    return MapEstimate.model_validate(
        _rounded(over_images(values), measure.bounds)
        | ({"curves": curves} if curves else {})
        | {f"better_than_{name}": Estimate(**_rounded(of, (-2, 2))) for name, of in gains.items() if of is not None}
    )


def _rounded(of: Interval, bounds: tuple[float, float]) -> dict[str, Any]:
    """The fields of an `Estimate`, cut to the range of the measure."""
    return {name: None if value is None else round(value, DIGITS) for name, value in asdict(of.within(*bounds)).items()}
