"""Run git, and build git commands for messages."""

import os
import shlex
import subprocess
from pathlib import Path


def output(*arguments: str) -> str:
    """The output of `git ARGUMENTS`. '' if it fails, if there is no repository, or if git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def undo(path: Path) -> str:
    """The command that resets `path` to the last commit, for a message.

    Not `git restore PATH`, which restores the staged version. A killed `dvc exp run` leaves its values staged.
    """
    return f"git checkout HEAD {shlex.quote(str(path))}"


def show_change(path: Path) -> None:
    """Give `path`, if it exists, a new modification time, so that git notices its change.

    `dvc exp run -S` writes params.yaml in the same second in which git last read it. If its size is the same too
    (batch, layer), git considers the file unchanged, and the command that undoes the change has no effect.
    """
    if path.exists():
        os.utime(path)


def shallow(repository: Path) -> bool:
    """Whether `repository` is a shallow clone, which lacks older commits."""
    return output("-C", str(repository), "rev-parse", "--is-shallow-repository").strip() == "true"
