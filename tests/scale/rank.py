"""One rank of a training of a few images, launched by the tests: `python -m tests.scale.rank FOLDER OVERRIDES`.

Rank 0 leaves the history and the weights in FOLDER, each rank what it found in `rank-N.json`.
"""

import json
import sys
from pathlib import Path

import torch

from src import artifacts
from src.training.loop import train
from src.training.ranks import Ranks, joined
from tests.unit.training_helpers import make_params, make_prepared

CPU = torch.device("cpu")
RATE = 0.05


def train_small(folder: Path, overrides: dict[str, object], ranks: Ranks) -> None:
    """Train, with checkpoints in `folder`; rank 0 writes `trained.pt` into it."""
    params = make_params(**overrides)
    prepared = make_prepared(train=45, val=11)
    said: list[str] = []
    trained = train(prepared, params, RATE, CPU, "fp32", folder / "checkpoints", lambda _: None, said.append, ranks)
    weights = trained.model.state_dict()
    if ranks.first:
        torch.save({"weights": weights, "history": trained.history, "epoch": trained.epoch}, folder / "trained.pt")
    digests = {name: str(float(tensor.double().sum())) for name, tensor in weights.items()}
    artifacts.write_json(folder / f"rank-{ranks.rank}.json", {"said": said, "weights": digests})


if __name__ == "__main__":
    with joined(1, CPU) as ranks:
        train_small(Path(sys.argv[1]), json.loads(sys.argv[2]), ranks)
