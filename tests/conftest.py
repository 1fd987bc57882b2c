"""Fixtures that several test files share."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
# Before torch is imported. Two test processes with two threads each would wait for each other at every step.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command line in a folder, as a person would; output and errors as text."""

    def run_(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "PYTEST_", "GIT_"))}
        return subprocess.run(
            command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False, timeout=300
        )

    return run_


def copy_repository(target: Path) -> Path:
    """A git clone of this checkout's files as they are now, committed, with DVC set up and no results."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, files):
        source = REPOSITORY / name
        if source.exists() and name != "dvc.lock" and not (name.startswith("metrics/") and name != "metrics/README.md"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target
