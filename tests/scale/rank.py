"""One rank of trainings of a few images, launched by the tests: `python -m tests.scale.rank FOLDER JOBS`.

They compute in float64, where another order of additions shows in the fifteenth digit: what differs more is a mistake.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src import artifacts
from src.model.inputs import to_input
from src.training import loop
from src.training.forward import FromPixels
from src.training.history import Row
from src.training.ranks import Ranks, joined
from tests.unit.training_helpers import make_params, make_prepared

CPU = torch.device("cpu")
FLIP_AND_CROP = [
    {"name": "HorizontalFlip", "p": 0.5}, {"name": "Pad", "padding": 2},
    {"name": "RandomCrop", "height": 16, "width": 16},
]  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A training with checkpoints in the folder `name`; `stop` ends it after so many epochs."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    images: int = 45
    stop: int = 0


class Stop(Exception):
    """Ends a training after an epoch."""


class Exact(FromPixels):
    """The forward pass in float64."""

    def forward(self, images: Tensor) -> Tensor:
        x = to_input(images, self.mean, self.std, self.device, self.channels_last)
        logits: Tensor = self.model(x.double())
        return logits


_new_model = loop.new_model


def exact_model(*arguments: Any) -> nn.Module:
    return _new_model(*arguments).double()


def run(job: Job, folder: Path, ranks: Ranks) -> None:
    """Train; rank 0 leaves `trained.pt`, and each rank the sums of its weights in `rank-N.json`."""

    def on_epoch(row: Row) -> None:
        if row["epoch"] == job.stop:
            raise Stop

    place = folder / job.name
    params = make_params(**{"train.epochs": 4, "augment": FLIP_AND_CROP} | job.changes)
    prepared = make_prepared(train=job.images, val=11)
    said: list[str] = []
    try:
        trained = loop.train(prepared, params, 0.05, CPU, "fp32", place, on_epoch, said.append, ranks)
    except Stop:
        return
    weights = trained.model.state_dict()
    if ranks.first:
        found = {"weights": weights, "history": trained.history, "epoch": trained.epoch, "said": said}
        torch.save(found, place / "trained.pt")
    sums = {name: float(tensor.double().sum()) for name, tensor in weights.items()}
    artifacts.write_json(place / f"rank-{ranks.rank}.json", sums)


def run_all(jobs: list[Job], folder: Path, ranks: Ranks) -> None:
    """Run `jobs` one after the other, in float64."""
    before = loop.FromPixels, loop.new_model
    loop.FromPixels, loop.new_model = Exact, exact_model  # type: ignore[misc, assignment]
    try:
        for job in jobs:
            run(job, folder, ranks)
    finally:
        loop.FromPixels, loop.new_model = before  # type: ignore[misc]


if __name__ == "__main__":
    with joined(1, CPU) as all_ranks:
        run_all([Job(**job) for job in json.loads(sys.argv[2])], Path(sys.argv[1]), all_ranks)
