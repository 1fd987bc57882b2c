"""One trial of a sweep on its machine: clone the repository, run `dvc exp run` in the clone and push the results."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import Timeout

from src import artifacts, results
from src.addresses import redacted
from src.config.overrides import flags
from src.errors import UserError
from src.locks import locked
from src.processes import experiment_environment
from src.sweep.ledger import FAILED, FINISHED, STOPPED, Ledger, Record
from src.sweep.spec import Point, Spec, trial_name

LOOK = 0.5  # seconds between two checks of a training
GRACE = 30.0  # seconds that a stage has to end its MLflow run
# DVC ends with the process that started it, and stages end with DVC, so nothing trains after a trial is given up.
DVC = (
    "import signal, sys; from src.processes import die_with_parent; die_with_parent(signal.SIGTERM); "
    "from dvc.cli import main; sys.exit(main())"
)

KILLED = r"stopped by (SIGTERM|Ctrl-C)|exited with -\d"  # printed by a stage, or by DVC about a stage

Progress = dict[str, Any]  # epoch, val_accuracy; at the end also done, status


@dataclass(frozen=True)
class Job:
    """Everything that the trials of a sweep share. Every machine can read it."""

    spec: Spec
    committed: Point  # every parameter of the committed params.yaml
    base: Point  # every parameter of the trials, before the sweep changes its own
    folder: Path  # of this sweep, in the shared storage
    baseline: str  # the commit to clone
    git_url: str
    dvc_url: str
    tracking_uri: str
    parent: str  # id of the sweep's MLflow run

    def params(self, drawn: Point) -> dict[str, Any]:
        """Every parameter of a trial."""
        return {**self.base, **self.spec.tidy(drawn)}


class Experiment:
    """A trial. Calls of `progress` run it to its end, and `stop` gives it up."""

    def __init__(self, job: Job, drawn: Point, node: str = "") -> None:
        self.job = job
        self.point = job.spec.tidy(drawn)
        self.params = job.params(drawn)
        self.name = trial_name(job.spec, self.params)
        self.ledger = Ledger(job.folder)
        self.node = node or socket.gethostname()
        self._epoch = 0
        self._held = ExitStack()
        self._clone = Path()
        self._dvc: subprocess.Popen[bytes] | None = None

    def progress(self) -> Progress:
        """Wait for the next completed epoch, except the last one, or for the end of the trial.

        A trial that has already ended, here or elsewhere, is not run again. Failures of the trial are returned. An
        exception counts as a fault of the machine, and the trial moves to another one.
        """
        try:
            if self._dvc is None and (ended := self._start()):
                return ended
            assert self._dvc is not None
            while self._dvc.poll() is None:
                row = self.ledger.last_epoch(self.name)
                if row and self._epoch < int(row["epoch"] or 0) < self.params["train.epochs"]:
                    self._epoch = int(row["epoch"] or 0)
                    return {"epoch": self._epoch, "val_accuracy": row["val_accuracy"] or 0.0, "done": False}
                time.sleep(LOOK)
            return self._end()
        except (OSError, UserError) as error:
            return self._failed(str(error))

    def stop(self) -> None:
        """End all processes of the trial and delete its clone. The stage closes its MLflow run. Checkpoints remain."""
        if self._dvc is not None and self._dvc.poll() is None:
            stages = psutil.Process(self._dvc.pid).children(recursive=True)
            self._dvc.terminate()  # first, otherwise it would start the next stage
            for stage in stages:
                stage.terminate()
            for late in psutil.wait_procs(stages, GRACE)[1]:
                late.kill()
            self._dvc.wait()
        self._held.close()

    def _start(self) -> Progress | None:
        """Start the experiment, or return its result if it has already ended."""
        lock = self.ledger.lock(self.name)
        while True:  # a machine that was cut off counts as lost, but may still train and hold the lock
            try:
                self._held.enter_context(locked(lock, wait=0))
                break
            except Timeout:
                time.sleep(LOOK)
        record = self.ledger.record(self.name)
        if record.get("status") in (FINISHED, STOPPED):
            return _ending(record)
        attempts = record.get("attempts", 0) + 1
        self.ledger.write(self.name, status="running", point=self.point, node=self.node, attempts=attempts, error="")
        self.ledger.log(self.name).parent.mkdir(parents=True, exist_ok=True)
        self._clone = self._held.enter_context(_folder())
        self._clone.mkdir()
        self._run(
            "git", "clone", "--quiet", "--no-checkout", "--origin", self.job.spec.remotes.git, self.job.git_url, "."
        )
        self._run("git", "checkout", "--quiet", "--detach", self.job.baseline)
        artifacts.write_text(self._clone / ".dvc/config.local", self._dvc_config())
        changed = {key: value for key, value in self.params.items() if self.job.committed[key] != value}
        with self.ledger.log(self.name).open("ab") as log:
            log.write(f"\n--- attempt {attempts}, on {self.node}\n".encode())
            self._dvc = subprocess.Popen(
                [sys.executable, "-c", DVC, "exp", "run", "--name", self.name, *flags(changed)], cwd=self._clone,
                env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return None

    def _end(self) -> Progress:
        """The result of the experiment. Its outputs and its MLflow run are completed before the result is recorded."""
        assert self._dvc is not None
        if self._dvc.returncode != 0:
            said = self._said()
            if self._dvc.returncode < 0 or re.search(KILLED, said):
                raise RuntimeError(f"{self.name} was stopped from outside on {self.node}")
            errors = re.findall(r"^(?:error|ERROR): (.+)$", said, re.MULTILINE)
            return self._failed(errors[0] if errors else f"dvc exp run ended with exit code {self._dvc.returncode}")
        remotes = self.job.spec.remotes
        # With --force, because an earlier attempt with the same bits may have pushed the experiment.
        self._run("dvc", "exp", "push", "--force", "--remote", remotes.dvc, remotes.git, self.name)
        self._run("commands.sync")
        train = results.Training.read(self._clone / results.Training.PATH)
        test = results.Evaluation.read(self._clone / results.Evaluation.PATH)
        record = self.ledger.write(
            self.name, status=FINISHED, epoch=train.epochs, accuracy=train.val_accuracy,
            test_accuracy=test.accuracy,
        )  # fmt: skip
        self.ledger.forget_checkpoints(self.name)
        return _ending(record)

    def _failed(self, error: str) -> Progress:
        return _ending(self.ledger.write(self.name, status=FAILED, error=redacted(error)))

    def _run(self, *command: str) -> None:
        """Run git or a Python module in the clone. Raises UserError if it fails."""
        words = list(command) if command[0] == "git" else [sys.executable, "-m", *command]
        named = {"DVC_EXP_NAME": self.name, "DVC_EXP_BASELINE_REV": self.job.baseline}  # for a run created by `sync`
        with self.ledger.log(self.name).open("ab") as log:
            done = subprocess.run(
                words, cwd=self._clone, env=self._environment() | named, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        if done.returncode != 0:  # further arguments may contain a password
            raise UserError(f"{' '.join(command[:2])} ended with exit code {done.returncode}")

    def _said(self) -> str:
        """The output of this attempt."""
        text = self.ledger.log(self.name).read_text(encoding="utf-8", errors="replace")
        return text.replace("\r", "\n").rpartition("\n--- attempt ")[2]

    def _environment(self) -> dict[str, str]:
        """The environment of this process for the clone's own code, with the settings of its stages."""
        environment = experiment_environment()
        environment.pop("PYTHONPATH", None)  # set by Ray to the sweep's copy of `src`
        return environment | {
            "DVC_SITE_CACHE_DIR": str(self._clone / ".dvc/site"),  # otherwise each clone leaves a folder in /var/tmp
            "MLFLOW_TRACKING_URI": self.job.tracking_uri,
            "NORMLENS_CHECKPOINTS": str(self.ledger.checkpoints(self.name)),
            "NORMLENS_SWEEP_RUN": self.job.parent,
        }

    def _dvc_config(self) -> str:
        """The remote, and a cache that all machines share, so that the data is prepared once.

        The cache also keeps the learning rate of the first attempt, so that a second one finds its checkpoints.
        """
        remote = self.job.spec.remotes.dvc
        cache = self.job.folder.parent / "cache"
        return f"[cache]\n    dir = {cache}\n['remote \"{remote}\"']\n    url = {self.job.dvc_url}\n"


def _ending(record: Record) -> Progress:
    """The last report on a trial. A failed trial counts as the worst, so that a search avoids it."""
    ended = {"status": record["status"], "error": record.get("error", ""), "done": True}
    return ended | {"epoch": record.get("epoch", 0), "val_accuracy": record.get("accuracy") or 0.0}


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder of this process. Folders that killed processes left on this machine are deleted."""
    prefix = "normlens-trial-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = left.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "clone"
