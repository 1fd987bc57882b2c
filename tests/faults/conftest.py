"""What the faults happen to: the real pipeline in a repository of its own."""

from pathlib import Path

import pytest

from tests.pipeline.workspace import Workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace after `dvc repro`, made once in a test process. Change a copy, `finished.copy(...)`, never this."""
    workspace = Workspace.create(tmp_path_factory.mktemp("faults") / "finished")
    workspace.ok("dvc", "repro")
    return workspace


@pytest.fixture
def copy(finished: Workspace, tmp_path: Path) -> Workspace:
    """A workspace after `dvc repro` that a test may change, with an MLflow store that is empty."""
    return finished.copy(tmp_path / "copy")
