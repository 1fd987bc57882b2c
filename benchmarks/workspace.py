"""Folders to run in that leave no trace in this repository, and processes in them."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import CODE, params_with
from src.data import prepared
from src.data.prepare import prepare
from src.data.sources import FETCHERS
from src.errors import UserError

FILES = (
    ".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "metrics/.gitignore", "metrics/README.md",
    "own/README.md",
)  # fmt: skip


def copy_repository(target: Path) -> Path:
    """Copy the files of CODE as they are into a git repository of their own, and return it.

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


def python(folder: Path, *arguments: str, **environment: str) -> float:
    """Seconds of `python ARGUMENTS` in `folder`, with the MLflow store there. Raises UserError if it fails."""
    given = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "DVC_ROOT")}
    command, start = [sys.executable, *arguments], time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=given | environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"python {' '.join(arguments)} failed: {(done.stdout + done.stderr).strip()[-500:]}")
    return time.perf_counter() - start


def processes_in(folder: Path) -> list[psutil.Process]:
    """The other processes that work in `folder` or below, with their command line in `info`."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.pid != os.getpid() and process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(folder)
    ]


def prepare_once(folder: Path, changes: dict[str, Any]) -> None:
    """Write the images of params.yaml with dotted `changes` into `folder`, if it is empty, as the pipeline does.

    `src.data.prepared.load` reads them.
    """
    if not (folder / prepared.META).exists():
        data = params_with(changes).data
        with tempfile.TemporaryDirectory() as raw:
            FETCHERS[data.source](data, Path(raw))
            prepared.save(prepare(Path(raw), data)[0], folder)
