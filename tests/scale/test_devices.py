"""One training over several devices is the training on one device."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from src import artifacts
from src.launch import launch
from src.training.ranks import ALONE
from tests.scale.rank import train_small

MEASURED = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")


def trained(folder: Path, devices: int, **overrides: Any) -> dict[str, Any]:
    """The history and weights of a training on so many devices; each rank must have ended with the same weights."""
    folder.mkdir(exist_ok=True)
    if devices == 1:
        train_small(folder, overrides, ALONE)
    else:
        launch(("-m", "tests.scale.rank", str(folder), json.dumps(overrides)), devices, 1, "cpu")
        first, *others = (artifacts.read_json(folder / f"rank-{rank}.json") for rank in range(devices))
        assert [other["weights"] for other in others] == [first["weights"]] * (devices - 1)
    found: dict[str, Any] = torch.load(folder / "trained.pt")
    return found


def assert_same(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    for row, expected in zip(other["history"], one["history"], strict=True):
        for name in MEASURED:
            assert row[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance), (row["epoch"], name)
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(other["weights"][name], tensor, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_two_devices_have_the_loss_curve_and_weights_of_one(tmp_path: Path, norm: str) -> None:
    """Batches of 16 of 45 images: the last one has 13, a part of 6 and one of 7."""
    overrides = {"norm": norm, "train.epochs": 4}
    one, two = (trained(tmp_path / str(devices), devices, **overrides) for devices in (1, 2))
    assert_same(one, two, 1e-4)
