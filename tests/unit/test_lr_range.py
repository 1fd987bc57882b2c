"""The range test: what its curve suggests, by hand; what it leaves alone; where it ends."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.data.augmenters import make_augmenter
from src.data.loader import train_loader
from src.errors import UserError
from src.figures.lr_range import lr_range_figure
from src.model.resnet import build
from src.params import Params
from src.training.lr_range import (
    Sweep,
    centroid,
    fell,
    minimum,
    range_test,
    round2,
    slide,
    smooth,
    steepest,
    suggestions,
    valley,
)
from tests.unit.training_helpers import make_params, make_prepared

CPU = torch.device("cpu")


def curve(values: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


def exact(lrs: np.ndarray, smoothed: np.ndarray, noise: float = 0.0) -> Sweep:
    """A sweep whose smoothed curve is given."""
    result = Sweep(lrs, smoothed, 0.0)
    result.__dict__.update(smoothed=smoothed, noise=noise)
    return result


DECADES = curve([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])


def test_valley_by_hand() -> None:
    # The longest fall is 5, 4, 3, 2, 1 at the points 1..5; fastai counts from one before: 0 + int(5/3) + int(5/6) = 1.
    assert valley(DECADES, curve([4.5, 5, 4, 3, 2, 1, 9])) == DECADES[1]
    # Six falling points that end at 6: from 0, thirds of 2, so 0 + 2 + 1 = 3.
    assert valley(DECADES, curve([3, 6, 5, 4, 3, 2, 1])) == DECADES[3]
    # A bump in a fall does not end it: 6, 5, 4, 2, 1 of 6, 5, 4, 7, 2, 1, ending at 5.
    assert valley(DECADES, curve([6, 5, 4, 7, 2, 1, 9])) == DECADES[1]
    # A loss that never falls has a stretch of one point.
    assert valley(DECADES, curve([1, 2, 3, 4, 5, 6, 7])) == DECADES[0]


def test_steepest_by_hand() -> None:
    # Differences of neighbours: -0.1, -0.6, -1.2, -0.3; central gradients are steepest at the third point.
    assert steepest(DECADES, curve([3, 2.9, 2.3, 1.1, 0.8, 2, 50])) == DECADES[2]
    # The same losses over a rate that grows linearly: most of the fall per logarithm is at the end.
    linear = curve([1, 2, 3, 4, 5])
    assert steepest(linear, curve([5, 4, 3, 2, 1])) == 5
    # Neither the point of least loss (gradient upwards) nor a plunge after it (a spike that came down) counts.
    assert steepest(DECADES, curve([3, 2.5, 1, 5, 9, 2, 3])) == DECADES[1]


def test_minimum_is_a_tenth() -> None:
    assert minimum(DECADES, curve([3, 2.5, 2, 1, 0.5, 2, 3])) == pytest.approx(0.01)


def test_slide_stops_where_both_ends_have_one_slope() -> None:
    def flat_then_rise(points: int) -> float:
        lrs = np.geomspace(1e-7, 10, points)
        return slide(lrs, 2 + 0.1 * np.maximum(lrs / 1e-3 - 1, 0))

    # The right end is 15 steps of 0.08 decades to the right of the left one, and leaves the rise at 1e-3.
    assert flat_then_rise(101) == pytest.approx(1e-3 / 10**1.2, rel=0.25)
    assert flat_then_rise(1001) == pytest.approx(flat_then_rise(101), rel=0.25)


@given(
    losses=st.lists(st.floats(0.01, 100, allow_nan=False), min_size=5, max_size=60),
    start=st.floats(1e-8, 1e-3),
    scale=st.floats(0.5, 2),
)
def test_suggestions_lie_within_the_sweep_and_do_not_depend_on_its_unit(
    losses: list[float], start: float, scale: float
) -> None:
    lrs = np.geomspace(start, 10, len(losses))
    found = suggestions(exact(lrs, curve(losses)))
    assert list(found) == ["valley", "steepest", "slide", "minimum", "peak", "edge", "centroid"]
    slack = 1e-9
    assert all(start * (1 - slack) <= found[name] <= 10 * (1 + slack) for name in ("valley", "steepest", "slide"))
    assert all(start / 10 * (1 - slack) <= found[name] <= 1 + slack for name in ("minimum", "edge"))
    assert start / 2 * (1 - slack) <= found["centroid"] <= 10
    scaled = suggestions(exact(lrs * scale, curve(losses)))
    assert scaled["valley"] == pytest.approx(found["valley"] * scale)
    assert scaled["minimum"] == pytest.approx(found["minimum"] * scale)
    assert scaled["edge"] == pytest.approx(found["edge"] * scale)
    assert scaled["centroid"] == pytest.approx(found["centroid"] * scale)


def test_what_comes_after_the_divergence_does_not_count() -> None:
    losses = curve([3, 2.9, 2.5, 2.2, 2.6, 9, 2, 1, 1])
    found = suggestions(exact(np.geomspace(1e-6, 100, 9), losses))
    assert found["peak"] == pytest.approx(1e-3)
    assert found["minimum"] == pytest.approx(1e-4)


def test_the_edge_lies_beyond_a_hill_in_the_middle() -> None:
    """Half of the fall from 3 to 2 is 2.5: the last rate with no more is the seventh, 1."""
    losses = curve([3, 2.8, 2, 2.1, 3.4, 2.6, 2.4, 2.9, 2.8])
    found = suggestions(exact(np.geomspace(1e-6, 100, 9), losses))
    assert found["edge"] == pytest.approx(0.1)
    assert found["peak"] == pytest.approx(1e-4)


def test_the_centroid_by_hand() -> None:
    # Falls of 1, 2 and 1 at 1e-3, 1e-2 and 1e-1 are centred at 1e-2, and what lies above the first loss has no weight.
    assert centroid(DECADES, curve([3, 3, 2, 1, 2, 5, 9])) == pytest.approx(1e-2 / 2)
    # Half of the same weight at 1e-3 is half a decade to the left.
    assert centroid(DECADES, curve([3, 3, 2, 2, 3, 3, 3])) == pytest.approx(10**-2.5 / 2)
    assert centroid(DECADES, curve([3, 3, 3, 3, 3, 3, 4])) == 1e-5  # no fall


def test_the_centroid_does_not_depend_on_where_the_points_are() -> None:
    """A bowl around 1e-2 in the logarithm of the rate."""
    for lrs in (np.geomspace(1e-5, 10, 3001), np.linspace(1e-5, 10, 1_000_001)):
        losses = 3 - np.maximum(0, 1 - np.abs(np.log10(lrs) + 2))
        assert centroid(lrs, losses) == pytest.approx(1e-2 / 2, rel=0.01)


def test_sweeps_of_noisy_losses_suggest_nearly_the_same_rate() -> None:
    """A fall of four times the noise of a batch, with spikes as of layer norm, by 20 seeds."""
    lrs = np.geomspace(1e-5, 10, 300)
    rates = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        losses = 2.4 - 0.4 * np.exp(-((np.log10(lrs) + 2) ** 2)) + 0.1 * rng.standard_normal(300)
        losses[rng.integers(150, 300, 6)] += 3
        noisy = Sweep(lrs, losses, 6.0)
        assert noisy.noise == pytest.approx(0.1, rel=0.3)
        assert fell(noisy)
        rates.append(suggestions(noisy)["centroid"])
    assert max(rates) < 2.5 * min(rates)
    assert np.median(rates) == pytest.approx(0.005, rel=0.5)


def test_a_loss_that_never_fell() -> None:
    def exactly(values: list[float], noise: float = 0.0) -> bool:
        return fell(exact(np.geomspace(1e-5, 10, len(values)), curve(values), noise))

    assert exactly([2, 1.9, 5])
    assert not exactly([2, 1.9, 5], noise=0.2)
    assert not exactly([2, 2, 2.1])
    assert not exactly([2.5, 2.51, 2.52, 2.53, 2.56, 2.6, 2.8, 3, 2.6, 2.4, 2.3])  # it fell after it diverged


def test_noise_is_not_a_fall() -> None:
    for seed in range(20):
        losses = 2.3 + 0.1 * np.random.default_rng(seed).standard_normal(300)
        assert not fell(Sweep(np.geomspace(1e-5, 10, 300), losses, 6.0))


@pytest.mark.parametrize(("lr", "rounded"), [(0.012345, 0.012), (0.0996, 0.1), (3.14159e-5, 3.1e-5), (1.0, 1.0)])
def test_two_significant_digits(lr: float, rounded: float) -> None:
    assert round2(lr) == rounded


def sweep(params: Params, model: torch.nn.Module | None = None, images: int = 48) -> Sweep:
    prepared = make_prepared(images)
    loader = train_loader(
        prepared.train,
        make_augmenter(params.augment, prepared.size, params.seed),
        batch_size=params.train.batch_size,
        seed=params.seed,
        workers=0,
        device=CPU,
    )
    torch.manual_seed(0)
    model = model or build(params.norm, params.model.width, params.model.strides, 3)
    return range_test(model, prepared, loader, params, CPU, "fp32")


SHORT = {"lr_range.iterations": 12, "lr_range.smoothing": 0.25}


def test_the_sweep_covers_the_range_and_smooths() -> None:
    result = sweep(make_params(**SHORT, **{"lr_range.end": 0.1, "lr_range.diverge": 1000.0}))
    assert result.lrs == pytest.approx(np.geomspace(1e-5, 0.1, 12))
    assert result.losses.shape == result.smoothed.shape == (12,)
    assert result.smoothed == pytest.approx(smooth(result.losses, 0.25 * 12))


def test_smoothing_takes_out_an_outlier_and_does_not_lag() -> None:
    flat = np.full(30, 2.0)
    assert smooth(np.where(np.arange(30) == 7, 9.0, flat), 2.0) == pytest.approx(flat)
    valley = np.abs(np.arange(41.0) - 20)
    assert smooth(valley, 2.0) == pytest.approx(smooth(valley, 2.0)[::-1])
    assert np.argmin(smooth(valley, 2.0)) == 20


def test_the_sweep_is_of_the_weighted_loss() -> None:
    """Classes of 17, 17 and 16 images have unequal weights, classes of 16 images each have the weight 1."""
    choices = ("none", "balanced")
    plain, weighted = (sweep(make_params(**SHORT, **{"train.class_weights": choice}), images=50) for choice in choices)
    assert plain.losses[0] != weighted.losses[0]
    plain, weighted = (sweep(make_params(**SHORT, **{"train.class_weights": choice}), images=48) for choice in choices)
    assert weighted.losses[0] == pytest.approx(plain.losses[0], rel=1e-6)


def test_a_linear_sweep() -> None:
    result = sweep(make_params(**SHORT, **{"lr_range.mode": "linear", "lr_range.end": 0.1}))
    assert result.lrs == pytest.approx(np.linspace(1e-5, 0.1, 12))


def test_the_sweep_leaves_the_model_and_random_states_alone() -> None:
    model = build("batch", 4, [1, 2, 2, 2], 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    sweep(make_params(**SHORT), model)
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(p.grad is None for p in model.parameters())


def test_the_sweep_is_cut_at_the_first_loss_that_is_not_finite() -> None:
    result = sweep(make_params(**SHORT, norm="none", **{"lr_range.end": 1e12, "lr_range.diverge": 1e12}))
    assert 5 <= len(result.lrs) < 12
    assert len(result.lrs) == len(result.losses) == len(result.smoothed)
    assert np.isfinite(result.losses).all()


def test_too_few_finite_losses() -> None:
    with pytest.raises(UserError, match=r"Lower lr_range\.start"):
        sweep(make_params(**SHORT, norm="none", **{"lr_range.start": 1e8, "lr_range.end": 1e12}))


def test_the_figure_marks_every_suggestion_and_the_rate_in_use() -> None:
    lrs = np.geomspace(1e-5, 10, 30).tolist()
    losses = [2 - 0.5 * math.exp(-((math.log10(lr) + 1) ** 2)) for lr in lrs]
    found = suggestions(exact(curve(lrs), curve(losses)))
    axes = lr_range_figure(lrs, losses, losses, found, 0.01).figure.axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert labels[2:] == ["rate in use: 0.01"] + [
        f"{shown}: {found[name]:.2g}"
        for name, shown in [
            ("valley", "valley"),
            ("steepest", "steepest"),
            ("slide", "slide"),
            ("minimum", "minimum / 10"),
            ("peak", "peak"),
            ("edge", "edge / 10"),
            ("centroid", "centroid / 2"),
        ]
    ]
    assert axes.get_xscale() == "log"
