"""A copy of this repository, for runs that must leave no trace in it and that nothing here may change."""

import shutil
import subprocess
from pathlib import Path

from benchmarks.measure import CODE


def copy_repository(target: Path) -> Path:
    """The files of CODE as they are, in a git repository of their own: experiments need one, and leave things in it.

    A `target` that is such a copy already is brought up to date. It keeps what git ignores and the results of stages,
    but no history: a killed experiment may have left git's files locked or its own parameters committed.
    """
    for name in (".git", *CODE):
        shutil.rmtree(target / name, ignore_errors=True)
    for name in (
        *CODE,
        ".dvc/config",
        ".dvc/.gitignore",
        ".dvcignore",
        ".gitignore",
        "metrics/README.md",
        "own/README.md",
    ):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if Path(name).is_dir():
            shutil.copytree(name, target / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copyfile(name, target / name)
    identity = ["-c", "user.name=NormLens", "-c", "user.email=normlens@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target
