"""Schedules and optimisers: rates by hand, and those of recorded runs."""

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import Optimizer

from src.training.optimisers import OPTIMIZERS, make_optimizer
from src.training.schedules import SCHEDULES, Schedule, make_schedule
from tests.unit.training_helpers import make_params


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(3))


def prepare(lr: float, steps: int, **overrides: object) -> tuple[Optimizer, Schedule]:
    params = make_params(**overrides)
    optimizer = make_optimizer([parameter()], lr, params)
    return optimizer, make_schedule(optimizer, lr, steps, params)


def rates(optimizer: Optimizer, schedule: Schedule, steps: int) -> list[float]:
    """The rate of each step, read before the schedule steps, as training reads it."""
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.after_batch()
    return found


SEEDS_ONECYCLE = {
    "train.optimizer": "adam",
    "schedule.onecycle.div": 100.0,
    "schedule.onecycle.final_div": 100.0,
    "schedule.onecycle.anneal": "linear",
}


@pytest.mark.parametrize(("peak", "batches", "past_the_end"), [(0.0163, 98, -9.457e-06), (0.0021, 391, -1.480e-07)])
def test_onecycle_is_read_before_its_step(peak: float, batches: int, past_the_end: float) -> None:
    """The recorded runs read the rate after the last step, where the line goes on below zero."""
    steps = batches * 20
    optimizer, schedule = prepare(peak, steps, **SEEDS_ONECYCLE)
    read = rates(optimizer, schedule, steps)
    assert read[0] == pytest.approx(peak / 100)
    assert max(read) == pytest.approx(peak)
    assert read.index(max(read)) == steps * 0.25 - 1
    assert read[-1] == pytest.approx(peak / 10_000)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(past_the_end, rel=1e-3)


@given(steps=st.integers(1, 60), pct_start=st.floats(0.01, 0.99), anneal=st.sampled_from(["linear", "cos"]))
def test_onecycle_takes_any_number_of_steps(steps: int, pct_start: float, anneal: str) -> None:
    optimizer, schedule = prepare(
        0.1, steps, **{"schedule.onecycle.pct_start": pct_start, "schedule.onecycle.anneal": anneal}
    )
    read = rates(optimizer, schedule, steps)
    assert all(0 < rate <= 0.1 + 1e-12 for rate in read)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_onecycle_with_a_way_up_of_one_step(steps: int) -> None:
    optimizer, schedule = prepare(0.1, steps, **{"schedule.onecycle.pct_start": 1 / max(steps, 2)})
    assert rates(optimizer, schedule, steps)[0] == pytest.approx(0.1 / 25)


@pytest.mark.parametrize(("name", "read"), [("sgd", lambda g: g["momentum"]), ("adam", lambda g: g["betas"][0])])
def test_onecycle_moves_momentum_against_the_rate(name: str, read: object) -> None:
    assert callable(read)
    optimizer, schedule = prepare(0.1, 40, **{"train.optimizer": name})
    start = read(optimizer.param_groups[0])
    rates(optimizer, schedule, 9)
    assert (start, read(optimizer.param_groups[0])) == (pytest.approx(0.95), pytest.approx(0.85))


# The validation losses of the table in the first compared project (its best epochs and its drop are recorded there).
RECORDED = [
    0.002676, 0.002294, 0.002210, 0.001780, 0.001994, 0.001710, 0.001229, 0.001114, 0.001182, 0.001062,
    0.001488, 0.001165, 0.001031, 0.001227, 0.000974, 0.000675, 0.000667, 0.000658, 0.000669, 0.000670,
]  # fmt: skip


def test_plateau_drops_where_the_recorded_run_did() -> None:
    optimizer, schedule = prepare(
        0.01,
        20,
        **{
            "train.schedule": "plateau",
            "schedule.plateau.factor": 0.1,
            "schedule.plateau.patience": 4,
            "schedule.plateau.threshold": 0.1,
        },
    )
    read = []
    for loss in RECORDED:
        read.append(rates(optimizer, schedule, 1)[0])
        schedule.after_epoch({"val_loss": loss, "val_accuracy": 0.0})
    assert read == pytest.approx([0.01] * 15 + [0.001] * 5)


def test_plateau_may_watch_accuracy() -> None:
    optimizer, schedule = prepare(
        1.0,
        4,
        **{
            "train.schedule": "plateau",
            "schedule.plateau.monitor": "accuracy",
            "schedule.plateau.patience": 0,
            "schedule.plateau.factor": 0.5,
        },
    )
    read = []
    for accuracy in (0.5, 0.6, 0.6, 0.7):
        schedule.after_epoch({"val_loss": 1.0, "val_accuracy": accuracy})
        read += rates(optimizer, schedule, 1)
    assert read == [1.0, 1.0, 0.5, 0.5]


def test_cosine_by_hand() -> None:
    read = rates(*prepare(1.0, 10, **{"train.schedule": "cosine", "schedule.cosine.warmup": 0.2}), 10)
    assert read[:2] == [0.5, 1.0]
    assert read[2:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)])


def test_constant_by_hand() -> None:
    assert rates(*prepare(0.3, 5, **{"train.schedule": "constant"}), 5) == [0.3] * 5
    warm = rates(*prepare(1.0, 8, **{"train.schedule": "constant", "schedule.constant.warmup": 0.375}), 8)
    assert warm == [0.25, 0.5, 0.75] + [1.0] * 5


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_from_its_state(name: str) -> None:
    def row(epoch: int) -> Mapping[str, float]:
        return {"val_loss": 1.0 + epoch, "val_accuracy": 0.5}

    overrides = {"train.schedule": name, "schedule.plateau.patience": 1}
    optimizer, schedule = prepare(0.1, 12, **overrides)
    whole = []
    for epoch in range(4):
        whole += rates(optimizer, schedule, 3)
        schedule.after_epoch(row(epoch))
        if epoch == 1:
            saved = optimizer.state_dict(), schedule.state_dict()
    optimizer, schedule = prepare(0.1, 12, **overrides)
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    rest = []
    for epoch in (2, 3):
        rest += rates(optimizer, schedule, 3)
        schedule.after_epoch(row(epoch))
    assert rest == whole[6:]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_skips_the_step_that_is_marked(name: str) -> None:
    weights = parameter()
    optimizer = make_optimizer([weights], 0.1, make_params(**{"train.optimizer": name}))
    weights.grad = torch.ones(3)
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    assert (weights < 1).all()
    before = weights.tolist()
    weights.grad = torch.full((3,), float("nan"))
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert weights.tolist() == before


def test_first_steps_by_hand() -> None:
    overrides = {"train.weight_decay": 0.5, "train.decay_norms": True, "optimizer.sgd.nesterov": False}
    expected = {"sgd": 1 - 0.1 * (2 + 0.5), "adam": 1 - 0.1, "adamw": 1 * (1 - 0.1 * 0.5) - 0.1}
    for name, value in expected.items():
        weights = parameter()
        optimizer = make_optimizer([weights], 0.1, make_params(**overrides, **{"train.optimizer": name}))
        weights.grad = torch.full((3,), 2.0)
        optimizer.step()
        assert weights.tolist() == pytest.approx([value] * 3)
