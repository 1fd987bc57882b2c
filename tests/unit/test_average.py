"""The average of the weights: by hand, resumed, and what is kept of it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from src.training.average import Average
from src.training.checkpoint import load_latest
from tests.unit.test_training_loop import CPU, equal, run, train, weights
from tests.unit.training_helpers import make_params, make_prepared


def test_the_average_by_hand() -> None:
    """The first step is copied; then the decay is (1 + n) / (10 + n), at most the one asked for."""
    model = nn.BatchNorm1d(1)
    average = Average(model, decay=0.25)
    found = []
    for value in (4.0, 8.0, 0.0, 16.0):
        nn.init.constant_(model.weight, value)
        model.running_mean = torch.tensor([value / 2])
        model.num_batches_tracked = torch.tensor(int(value))
        average.update(model)
        found.append(average.model.state_dict()["weight"].item())
    # n is 1, 2, 3 after the first: decays 2/11, 3/12, and 0.25 instead of 4/13
    second = 2 / 11 * 4 + 9 / 11 * 8
    third = 0.25 * second
    assert found == pytest.approx([4, second, third, 0.25 * third + 0.75 * 16])
    state = average.model.state_dict()
    assert state["running_mean"].item() == pytest.approx(found[-1] / 2)
    assert state["num_batches_tracked"].item() == 16
    assert model.weight.item() == 16


def test_the_average_is_kept_and_training_goes_on_without_it(tmp_path: Path) -> None:
    plain, plain_rows = run(tmp_path / "plain")
    averaged, rows = run(tmp_path / "averaged", **{"train.ema": 0.9})
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in plain_rows]
    assert [row["val_loss"] for row in rows] != [row["val_loss"] for row in plain_rows]
    state = load_latest(tmp_path / "averaged", print)
    assert state is not None
    for name, tensor in weights(plain).items():
        assert torch.equal(state["model"][name], tensor), name
        assert torch.equal(state["average"]["model"][name], weights(averaged)[name]), name
    assert not equal(plain, averaged)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_killed_run_goes_on_with_its_average(tmp_path: Path, keep: str) -> None:
    overrides = {"train.epochs": 4, "train.ema": 0.9, "train.keep": keep}
    whole, _ = run(tmp_path / "whole", **overrides)
    with pytest.raises(KeyboardInterrupt):
        train(make_prepared(), make_params(**overrides), 0.05, CPU, "fp32", tmp_path / "cut", _stop, lambda _: None)
    assert equal(whole, run(tmp_path / "cut", **overrides)[0])


def _stop(row: dict[str, float | None]) -> None:
    if row["epoch"] == 2:
        raise KeyboardInterrupt
