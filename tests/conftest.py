"""What several test files share."""

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
# Before torch is imported. Two test processes with two threads each would wait for each other at every step.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def copy_repository(target: Path) -> Path:
    """A git repository of this checkout's files as they are now, committed, with DVC set up and no results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        source = REPOSITORY / name
        result = name == "dvc.lock" or (name.startswith("metrics/") and name != "metrics/README.md")
        if source.is_file() and not result:  # deleted files and links to folders are listed too
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target
