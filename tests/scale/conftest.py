"""A workspace whose next stage is `train`, on two devices of this CPU."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.pipeline.workspace import IDENTITY, Workspace

EPOCHS = 8
# At higher rates, and with batch norm over so few images, rounding grows within an epoch into another learning curve.
SHORT = {"train.epochs": EPOCHS, "train.batch_size": 8, "train.devices": 2, "lr": 0.0003, "norm": "layer"}


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Change a copy, never this."""
    workspace = Workspace.create(tmp_path_factory.mktemp("scale") / "ready")
    workspace.set_params(SHORT)
    workspace.ok("git", "commit", "-qam", "short", **IDENTITY)
    workspace.ok("dvc", "repro", "lr_range")
    return workspace


@pytest.fixture
def workspace(ready: Workspace, tmp_path: Path, stops: None) -> Iterator[Workspace]:
    """A copy of `ready`, and an end to all that still runs in it."""
    workspace = ready.copy(tmp_path / "workspace")
    yield workspace
    for process in workspace.processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()
