"""Learning-rate range test: a short training in which the rate grows, and what its curve suggests.

Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, https://arxiv.org/abs/1506.01186
The rules `valley`, `slide` and `minimum` are those of fastai (fastai/callback/schedule.py,
https://docs.fast.ai/callback.schedule.html); `slide` and `steepest` are stated here per natural logarithm of the rate
instead of per iteration, so that they do not depend on how many iterations the sweep has.
"""

import contextlib
import copy
import io
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d, percentile_filter
from torch import nn
from torch.utils.data import DataLoader

from src.data.augmenters import make_augmenter
from src.data.loader import Batch, set_epoch, train_loader
from src.data.prepared import Prepared
from src.errors import UserError
from src.model.device import Precision, prefers_channels_last
from src.params import Params
from src.training.forward import FromPixels
from src.training.loss import make_class_weights, training_loss
from src.training.optimisers import make_optimizer
from src.training.randomness import preserved, seed_everything
from src.training.untrained import new_model

FEWEST = 5  # points that a suggestion may rest on
DIVERGED = 0.02  # a smoothed loss this share above the first one, and more than its noise, is the end of the curve
WINDOW = 5  # widths of the smoothing in the window of the running quartile, and its fewest points
# The share of the centroid that trains best: found on the settings for developing of benchmarks/range_test.py, and
# confirmed on its others.
CENTROID_SHARE = 0.5
# fastai's slide compares gradients 15 iterations apart, and stops below 0.005 per iteration, in a sweep over 8 decades
# in 100 iterations: that is this step in the logarithm of the rate, and these numbers per unit of it.
FASTAI_STEP = math.log(10.0**8) / 100
SLIDE_STEPS = 15
SLIDE_GRADIENT = 0.005 / FASTAI_STEP

Curve = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """Rates and losses of the steps up to the last finite loss, each (K,).

    `width` is the standard deviation of the smoothing in points.
    """

    lrs: Curve
    losses: Curve
    width: float

    @cached_property
    def smoothed(self) -> Curve:
        """The losses without noise, see `smooth`."""
        return smooth(self.losses, self.width)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the losses of single batches: the median of their running interquartile ranges."""
        low, high = (_running(self.losses, self.width, percent) for percent in (25, 75))
        return float(np.median(high - low)) / 1.349  # the interquartile range of a normal distribution


class _NotFinite(Exception):
    """Ends the sweep: a loss of NaN exceeds no threshold."""


def range_test(
    model: nn.Module,
    prepared: Prepared,
    loader: DataLoader[Batch],
    params: Params,
    device: torch.device,
    precision: Precision,
) -> Sweep:
    """Sweep the rate over `params.lr_range` on a copy of `model`, with the loss and the optimiser of training.

    `model` and all random states stay as they were. The sweep ends early if the finder's running mean exceeds `diverge`
    times its least value, or is not finite. Raises UserError if fewer than FEWEST losses are finite.
    """
    from torch_lr_finder import LRFinder, TrainDataLoaderIter  # here: it imports pyplot

    settings = params.lr_range
    channels_last = prefers_channels_last(params.norm, device)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    class_weights = make_class_weights(params, prepared.train.labels, len(prepared.classes), device)
    losses: list[float] = []

    def criterion(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = training_loss(logits, labels, params.train.label_smoothing, class_weights, "mean")
        if not math.isfinite(value := loss.item()):
            raise _NotFinite
        losses.append(value)
        return loss

    with preserved():
        own = copy.deepcopy(model).to(device).to(memory_format=layout)
        forward = FromPixels(own, prepared, device, precision, channels_last)
        optimizer = make_optimizer(forward.parameters(), settings.start, params)
        finder = LRFinder(forward, optimizer, criterion, device=device)
        # The finder prints when it stops and how to plot, which means nothing to the user of the stage.
        with contextlib.suppress(_NotFinite), contextlib.redirect_stdout(io.StringIO()):
            finder.range_test(
                TrainDataLoaderIter(_Epochs(loader)),
                start_lr=settings.start,
                end_lr=settings.end,
                num_iter=settings.iterations,
                step_mode=settings.mode,
                diverge_th=settings.diverge,
            )
    lrs = np.array(finder.history["lr"])
    if len(lrs) < FEWEST:
        raise UserError(
            f"the range test from rate {settings.start:g} has {len(lrs)} finite losses and needs {FEWEST}. "
            "Lower lr_range.start, or raise lr_range.iterations"
        )
    return Sweep(lrs, np.array(losses), settings.smoothing * settings.iterations)


def sweep(prepared: Prepared, params: Params, device: torch.device, precision: Precision) -> Sweep:
    """Run the range test of `params` on a new model and the training images, as the stage lr_range does."""
    seed_everything(params.seed)
    model = new_model(params, len(prepared.classes))
    loader = train_loader(
        prepared.train,
        make_augmenter(params.augment, prepared.size, params.seed),
        batch_size=params.train.batch_size,
        seed=params.seed,
        device=device,
        workers=0,  # a sweep is short, and ends in the middle of an epoch: nothing to shut down
    )
    return range_test(model, prepared, loader, params, device, precision)


class _Epochs:
    """A loader whose every pass is another epoch. Else a sweep longer than an epoch would repeat its augmentation."""

    def __init__(self, loader: DataLoader[Batch]) -> None:
        self.loader = loader
        self.dataset = loader.dataset
        self.epoch = 0

    def __iter__(self) -> Iterator[Batch]:
        self.epoch += 1
        set_epoch(self.loader, self.epoch)
        return iter(self.loader)


def smooth(losses: Curve, width: float) -> Curve:
    """Losses (K,) without noise: a Gaussian of `width` points over their running lower quartile.

    The quartile leaves out spikes, from which a network recovers within some steps, and neither of both lags. The usual
    exponential mean with weight 0.05 runs 20 points behind, which are more than a decade of rates in a sweep of 100
    points, so that every rule would read a rate that is too high.
    """
    return np.asarray(gaussian_filter1d(_running(losses, width, 25), max(width, 1e-6), mode="nearest"))


def _running(losses: Curve, width: float, percent: float) -> Curve:
    window = max(WINDOW, round(WINDOW * width)) | 1  # odd, so that it lies about its point
    return np.asarray(percentile_filter(losses, percent, window, mode="reflect"))


def choose_rate(sweep: Sweep, params: Params) -> float:
    """The rate of `lr_range.suggestion`, rounded. Raises UserError if the loss never fell, as no rule then applies."""
    if not fell(sweep):
        raise UserError(
            f"the loss never fell in the range test from rate {params.lr_range.start:g}, so no rule suggests a rate. "
            "Lower lr_range.start, raise lr_range.iterations, or set lr to a number"
        )
    return round2(suggestions(sweep)[params.lr_range.suggestion])


def suggestions(sweep: Sweep) -> dict[str, float]:
    """A rate by each rule.

    For all except `edge` and `centroid` the curve counts up to where it diverges.
    """
    lrs, losses, end = sweep.lrs, sweep.smoothed, _end(sweep)
    found = {name: rule(lrs[:end], losses[:end]) for name, rule in RULES.items()}
    return found | {"edge": edge(lrs, losses), "centroid": centroid(lrs, losses)}


def fell(sweep: Sweep) -> bool:
    """Whether the smoothed loss fell by more than its noise before it diverged: if not, no rule means anything."""
    losses = sweep.smoothed
    return bool(losses[0] - losses[: _end(sweep)].min() > sweep.noise)


def _end(sweep: Sweep) -> int:
    """The number of points up to where the smoothed loss diverges, or all of them.

    What follows does not count: a network that has diverged often settles at the loss of chance, which may be below
    that of the untrained network.
    """
    losses = sweep.smoothed
    high = np.flatnonzero(losses > losses[0] + max(DIVERGED * losses[0], sweep.noise))
    return max(int(high[0]) + 1, FEWEST) if len(high) else len(losses)


def valley(lrs: Curve, losses: Curve) -> float:
    """The middle of the longest stretch in which the loss falls.

    The stretch ends where the longest strictly decreasing subsequence of the losses ends, and is as long as it.
    """
    lengths: list[int] = []  # of the longest decreasing subsequence that ends at each point
    ends: list[float] = []  # the highest losses, negated, at which one of 1, 2, ... points ends so far
    for rise in (-losses).tolist():
        before = bisect_left(ends, rise)
        ends[before : before + 1] = [rise]
        lengths.append(before + 1)
    end = int(np.argmax(lengths))
    third = lengths[end] / 3
    start = end - lengths[end]  # as in fastai: one before the stretch
    return float(lrs[max(0, start + int(third) + int(third / 2))])


def steepest(lrs: Curve, losses: Curve) -> float:
    """Where the loss falls fastest per logarithm of the rate, among the points up to the least loss.

    The gradients are central ones, also at the least loss. A one-sided one there would depend on a single batch.
    """
    gradient = np.gradient(losses, np.log(lrs))
    return float(lrs[np.argmin(gradient[: np.argmin(losses) + 1])])


def slide(lrs: Curve, losses: Curve) -> float:
    """The left end of an interval that slides down from the highest rate while its two ends differ in gradient.

    So it stops where the curve left of the interval continues as it does at its right end: before the rise.
    """
    grid = np.arange(np.log(lrs[0]), np.log(lrs[-1]) + FASTAI_STEP / 2, FASTAI_STEP)
    if len(grid) <= SLIDE_STEPS:
        return float(lrs[0])
    gradient = np.gradient(np.interp(grid, np.log(lrs), losses), FASTAI_STEP)
    left = len(grid) - 1 - SLIDE_STEPS
    while left > 0 and abs(gradient[left + SLIDE_STEPS] - gradient[left]) > SLIDE_GRADIENT:
        left -= 1
    return float(np.exp(grid[left]))


def minimum(lrs: Curve, losses: Curve) -> float:
    """A tenth of the rate of least loss: for a rate that stays."""
    return peak(lrs, losses) / 10


def peak(lrs: Curve, losses: Curve) -> float:
    """The rate of least loss, above which the loss grows: for a schedule that rises to it and falls (Smith 2017)."""
    return float(lrs[np.argmin(losses)])


def edge(lrs: Curve, losses: Curve) -> float:
    """A tenth of the highest rate at which half of the largest fall of the loss is still there: for a warmed-up peak.

    The untrained network of a sweep has had no warm-up: its loss often rises in the middle, above its first value, and
    falls again at ten to a hundred times the rate. This rule looks over that hill. A network which has diverged for
    good is at the loss of chance or above, which is not half-way down.
    """
    low_enough = losses <= (losses[0] + losses.min()) / 2
    return float(lrs[np.flatnonzero(low_enough)[-1]]) / 10


def centroid(lrs: Curve, losses: Curve) -> float:
    """A share of the rate at the centre of the fall: the geometric mean of the rates, each weighted by the fall there.

    The whole curve decides, and no single point of it: the sweeps of other seeds suggest nearly the same rate.
    """
    fall = np.maximum(losses[0] - losses, 0)
    weights = fall * np.gradient(np.log(lrs))  # rates of a linear sweep lie closer and closer in the logarithm
    if not weights.any():
        return float(lrs[0])
    return CENTROID_SHARE * float(np.exp(np.average(np.log(lrs), weights=weights)))


RULES: dict[str, Callable[[Curve, Curve], float]] = {
    "valley": valley,
    "steepest": steepest,
    "slide": slide,
    "minimum": minimum,
    "peak": peak,
}


def round2(lr: float) -> float:
    """Two significant digits: 0.012345 -> 0.012. A new sweep then mostly gives the same rate, and retrains nothing."""
    return float(f"{lr:.1e}")
