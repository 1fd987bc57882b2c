"""What a process may use, how long it may live, and what it is told by its environment."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path


def die_with_parent(stop: signal.Signals) -> None:
    """Ask Linux to send `stop` to this process when the one that started it is gone; elsewhere nothing happens."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, stop)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def experiment_environment() -> dict[str, str]:
    """This environment, with this Python first in PATH and a git identity where the machine has none.

    DVC commits experiments with git and fails without an identity; the variables hold for this process alone.
    """
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    identity = subprocess.run(["git", "config", "user.email"], capture_output=True, check=False)
    if identity.returncode != 0:
        for role in ("AUTHOR", "COMMITTER"):
            environment.setdefault(f"GIT_{role}_NAME", "NormLens")
            environment.setdefault(f"GIT_{role}_EMAIL", "normlens@localhost")
    return environment
