"""One training over several devices is the training on one device."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from src import artifacts
from src.launch import launch
from src.training.ranks import ALONE
from tests.scale.rank import Job, run_all

pytestmark = pytest.mark.scale

MEASURED = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
EVERYTHING = {
    "train.optimizer": "adamw", "train.ema": 0.9, "train.grad_clip": 0.5, "train.keep": "best",
    "train.early_stopping": 3, "train.schedule": "plateau", "schedule.plateau.patience": 0,
}  # fmt: skip
# Batches of 16 of 45 images: the last one has 13, a part of 6 and one of 7; of the 11 images for validation 5 and 6.
SAME = [
    Job("batch", {"norm": "batch"}), Job("layer", {"norm": "layer"}), Job("none", {"norm": "none"}),
    Job("everything", EVERYTHING), Job("standardised", {"norm": "group", "model.weight_standardization": True}),
    Job("weighted", {"train.class_weights": "balanced"}, 47),  # classes of 16, 16 and 15 images
]  # fmt: skip
# Batches of 15 of 47 images: a last one of 2, for three ranks.
ONE_BY_ONE = [{"name": "VerticalFlip", "p": 0.5}]
EMPTY = [
    Job(f"empty-{norm}", {"norm": norm, "train.batch_size": 15}, 47)
    for norm in ("batch", "layer", "layer2d", "instance")
]
EMPTY += [Job("empty-augment", {"augment": ONE_BY_ONE, "train.batch_size": 15}, 47)]
EMPTY += [Job("empty-weighted", {"train.class_weights": "balanced", "train.batch_size": 15}, 47)]
OWN = Job("own", {"train.sync_batch_norm": False})


def on(devices: int, folder: Path, *jobs: Job) -> Path:
    """The folder, after so many devices have trained `jobs`, and ended with the same weights each."""
    if devices == 1:
        run_all(list(jobs), folder, ALONE)
        return folder
    launch(
        ("-W", "error", "-m", "tests.scale.rank", str(folder), json.dumps([asdict(job) for job in jobs])),
        devices,
        1,
        "cpu",
    )
    for job in jobs:
        if not job.stop:
            sums = [artifacts.read_json(folder / job.name / f"rank-{rank}.json") for rank in range(devices)]
            assert sums == [sums[0]] * devices
    return folder


def result(folder: Path, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / job.name / "trained.pt")
    return found


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """To six digits: rounding is 1e-15, and some of these networks make a hundred times as much of it an epoch."""
    assert other["epoch"] == one["epoch"]
    for row, expected in zip(other["history"], one["history"], strict=True):
        for name in MEASURED:
            assert row[name] == pytest.approx(expected[name], rel=1e-6), (row["epoch"], name)
    for name, tensor in one["weights"].items():
        actual = other["weights"][name]
        torch.testing.assert_close(actual, tensor, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_any_number_of_devices_trains_the_same_model(tmp_path: Path) -> None:
    one = on(1, tmp_path / "1", *SAME, *EMPTY, OWN)
    two = on(2, tmp_path / "2", *SAME, OWN)
    three = on(3, tmp_path / "3", *EMPTY, SAME[0])
    for job in SAME:
        assert_same(result(one, job), result(two, job))
    for job in (*EMPTY, SAME[0]):
        assert_same(result(one, job), result(three, job))
    # Each device with batch norms of its own: another network, which learns too.
    own, whole = result(two, OWN)["history"], result(one, OWN)["history"]
    assert own[0]["train_loss"] != pytest.approx(whole[0]["train_loss"], rel=1e-4)
    assert own[-1]["train_loss"] < own[0]["train_loss"]


def test_a_training_goes_on_with_another_number_of_devices(tmp_path: Path) -> None:
    """From one to two and from two to one, in the middle: with all that a checkpoint holds."""
    down, up, whole = (Job(name, EVERYTHING) for name in ("down", "up", "whole"))
    half = [Job(job.name, job.changes, stop=2) for job in (down, up)]
    on(1, tmp_path, half[1], whole)
    on(2, tmp_path, half[0], up)
    on(1, tmp_path, down)
    for job in (down, up):
        assert result(tmp_path, job)["said"] == ["resuming after epoch 2 of 4"]
        assert_same(result(tmp_path, whole), result(tmp_path, job))
