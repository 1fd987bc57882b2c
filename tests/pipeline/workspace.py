"""A repository of its own with the pipeline in it, on a machine without a git identity."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from mlflow.entities import Run

from src import git, tracking
from src.artifacts import PARAMS, sha256_file
from src.yaml_files import flatten
from tests.conftest import copy_repository

# A run of seconds. The keys of the recipe `quick` are all among them, so that it can be made as small.
TINY: dict[str, Any] = {
    "recipe": "quick",
    "device": "cpu",
    "precision": "fp32",
    "lr": 0.01,  # a sweep over so few images may well find that the loss never falls
    "data.source": "shapes",
    "data.shapes.train": 200,
    "data.shapes.test": 100,
    "model.width": 8,
    "model.strides": [2, 2, 2, 2],
    "lr_range.iterations": 12,
    "train.epochs": 2,
    "train.batch_size": 32,
    "train.ema": 0.0,
    "train.workers": 0,
    "gradcam.count": 4,
    "gradcam.measure.images": 2,
    "gradcam.measure.methods": ["GradCAM"],
}
UNDO = git.undo(PARAMS)  # as messages and documents give it
RESULTS = ("data", "models", "figures", "metrics", "reports")
IDENTITY = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@localhost",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@localhost",
}


@dataclass(frozen=True)
class Workspace:
    """A clone of this repository with the committed parameters `TINY`."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> "Workspace":
        workspace = cls(copy_repository(root))
        workspace.set_params(TINY)
        workspace.ok("git", "commit", "-qam", "tiny", **IDENTITY)
        return workspace

    def copy(self, root: Path) -> "Workspace":
        """The same with all results and DVC's cache, and an MLflow store that is empty (a store knows its place).

        Other tests may run commands here meanwhile, so files that come and go are left out.
        """
        passing = (".locks", "tmp", "*.pyc.*")
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts", *passing))
        return Workspace(root)

    def environment(self) -> dict[str, str]:
        """That of a person who has the virtual environment active, with a home of their own."""
        home = self.root.parent / "home"
        home.mkdir(exist_ok=True)
        foreign = ("DVC_", "MLFLOW_", "PYTEST_", "GIT_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return inherited | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_CACHE_HOME": str(Path.home() / ".cache"),  # matplotlib's list of fonts takes seconds to make
            "PYTHONDONTWRITEBYTECODE": "",  # byte code appears beside the sources, and nothing may go stale by it
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command line in the root."""
        return subprocess.run(
            command, cwd=self.root, env=self.environment() | environment, capture_output=True, text=True, check=False,
            timeout=1800,  # for a machine that is busy
        )  # fmt: skip

    def start(self, log: Path, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command line in the root, as the leader of a process group; what it prints goes to `log`."""
        with log.open("wb") as file:
            return subprocess.Popen(
                command, cwd=self.root, env=self.environment() | environment,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        """The processes that work in the root or below."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.root):
                    found.append(process)
            except psutil.Error:  # ended meanwhile, or somebody else's
                continue
        return found

    def ok(self, *command: str, **environment: str) -> str:
        """`run`, which must succeed; what it printed."""
        done = self.run(*command, **environment)
        assert done.returncode == 0, failure(done)
        return done.stdout + done.stderr

    def set_params(self, values: dict[str, Any]) -> None:
        """Change keys of params.yaml as an editor would."""
        file = self.root / "params.yaml"
        content = yaml.safe_load(file.read_text())
        for key, value in values.items():
            *parents, leaf = key.split(".")
            node = content
            for parent in parents:
                node = node[parent]
            assert leaf in node, key
            node[leaf] = value
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def undo(self) -> None:
        """Reset params.yaml to the last commit with the command that messages give."""
        self.ok(*shlex.split(UNDO))

    def params(self) -> dict[str, Any]:
        """The leaves of params.yaml by dotted key."""
        return flatten(yaml.safe_load((self.root / "params.yaml").read_text()))

    def digests(self, folders: Iterable[str] = RESULTS) -> dict[str, str]:
        """SHA-256 of every file under `folders`, by path."""
        files = [f for folder in folders for f in (self.root / folder).rglob("*") if f.is_file()]
        return {f.relative_to(self.root).as_posix(): sha256_file(f) for f in files}

    def store(self) -> tracking.MlflowClient:
        return tracking.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")

    def runs(self) -> list[Run]:
        """The runs of the MLflow store in the root."""
        client = self.store()
        experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id]))

    def artifacts(self, run: Run) -> dict[str, Path]:
        """Every file of a run by its name there; each must lie in the root's own `mlartifacts`."""
        place = Path(str(run.info.artifact_uri).removeprefix("file://"))
        assert place.is_relative_to(self.root / "mlartifacts")
        return {f.relative_to(place).as_posix(): f for f in place.rglob("*") if f.is_file()}


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed assertion shows of a command."""
    return f"{done.args} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def stages_run(output: str) -> list[str]:
    """The stages that DVC executed, in order; not those it took from its cache."""
    return re.findall(r"Running stage '(\w+)'", output)
