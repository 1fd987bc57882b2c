"""Questions to git, and commands for it."""

import shlex
import subprocess
from pathlib import Path


def output(*arguments: str) -> str:
    """What `git ARGUMENTS` prints, '' where it fails, where there is no repository, and where git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def undo(path: Path) -> str:
    """The command that resets `path` to the last commit, for a message.

    Not `git restore PATH`: that takes the staged version, and a killed `dvc exp run` leaves its values staged.
    """
    return f"git checkout HEAD {shlex.quote(str(path))}"


def shallow(repository: Path) -> bool:
    """Whether `repository` is a shallow clone, one that lacks the older commits."""
    return output("-C", str(repository), "rev-parse", "--is-shallow-repository").strip() == "true"
