"""A copy of this repository, for runs that must leave no trace in it and that nothing here may change."""

import shutil
import subprocess
from pathlib import Path

from benchmarks.harness import CODE

FILES = (
    ".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "metrics/.gitignore", "metrics/README.md",
    "own/README.md",
)  # fmt: skip


def copy_repository(target: Path) -> Path:
    """The files of CODE as they are, in a git repository of their own: experiments need one, and leave things in it.

    If `target` is such a copy already, it is brought up to date. It keeps what git ignores (DVC's cache, checkpoints)
    and the results of stages, but no history.
    """
    for name in (".git", ".dvc/tmp"):  # a killed experiment leaves locks in them, and commits nobody needs
        shutil.rmtree(target / name, ignore_errors=True)
    for name in (*CODE, *FILES):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if Path(name).is_dir():
            shutil.rmtree(target / name, ignore_errors=True)  # files that are gone here would count as code there
            shutil.copytree(name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(name, target / name)
    identity = ["-c", "user.name=NormLens", "-c", "user.email=normlens@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target
