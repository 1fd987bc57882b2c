"""deploy/slurm.sbatch as Slurm runs it, played by hand: the signal to the script alone, then the script once more."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from src.artifacts import read_csv
from tests.conftest import REPOSITORY
from tests.pipeline.workspace import IDENTITY, Workspace

pytestmark = pytest.mark.scale
EPOCHS = 30
PATIENCE = 1200.0  # seconds that a job may take: the machine may be busy
LONG = {"train.epochs": EPOCHS, "train.batch_size": 4}  # epochs of a third of a second
SCONTROL = '#!/bin/sh\necho "$@" >> "$SCONTROL_LOG"\n'


class Slurm:
    """Starts the script as job 7 from the root of a workspace, with a `scontrol` that notes what it is told."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace = workspace
        self.told = folder / "scontrol.log"
        self.log = folder / "slurm.log"
        (folder / "bin").mkdir()
        (folder / "bin/scontrol").write_text(SCONTROL)
        (folder / "bin/scontrol").chmod(0o755)
        self.environment = workspace.environment() | {
            "PATH": f"{folder / 'bin'}{os.pathsep}{workspace.environment()['PATH']}",
            "SCONTROL_LOG": str(self.told),
            "SLURM_JOB_ID": "7",
            "SLURM_SUBMIT_DIR": str(workspace.root),
            "SLURM_CPUS_PER_TASK": "1",
            "NORMLENS_VENV": sys.prefix,
        }

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """From a copy in another folder, as Slurm does."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["bash", str(REPOSITORY / "deploy/slurm.sbatch"), *command], cwd="/", env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def requeued(self) -> list[str]:
        return self.told.read_text().splitlines() if self.told.exists() else []

    def epochs(self) -> int:
        """The epochs that the jobs printed so far."""
        lines = self.log.read_text().replace("\r", "\n").splitlines()
        return sum(line.strip().partition(" ")[0].isdigit() for line in lines)


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """A workspace whose next command trains; whatever still runs in it at the end is ended."""
    workspace = Workspace.create(tmp_path / "shared" / "normlens")
    workspace.set_params(LONG)
    workspace.ok("git", "commit", "-qam", "long", **IDENTITY)
    workspace.ok("dvc", "repro", "lr_range")
    yield Slurm(workspace, tmp_path)
    for process in workspace.processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()


def wait_for_epochs(slurm: Slurm, job: subprocess.Popen[bytes], count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while slurm.epochs() < count:
        assert job.poll() is None, slurm.log.read_text()
        assert time.monotonic() < deadline, slurm.log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("command", [(), ("dvc", "exp", "run", "--temp", "-S", "seed=3")], ids=["repro", "temp"])
def test_a_job_that_is_stopped_twice_goes_on_in_the_same_run(slurm: Slurm, command: tuple[str, ...]) -> None:
    for stops in (1, 2):
        job = slurm.start(*command)
        wait_for_epochs(slurm, job, slurm.epochs() + 3)
        os.kill(job.pid, signal.SIGTERM)  # as --signal=B:TERM does: to the script alone
        assert job.wait(PATIENCE) == 0, slurm.log.read_text()
        assert slurm.requeued() == ["requeue 7"] * stops
        assert not [p for p in slurm.workspace.processes() if p.status() != psutil.STATUS_ZOMBIE]
        (run,) = slurm.workspace.runs()
        assert run.info.status == "KILLED"  # the stage had the time to say so
    before = slurm.epochs()
    job = slurm.start(*command)
    assert job.wait(PATIENCE) == 0, slurm.log.read_text()
    assert slurm.requeued() == ["requeue 7"] * 2  # and not when it is done
    assert slurm.epochs() - before <= EPOCHS - 6  # those before were not trained again
    (run,) = slurm.workspace.runs()
    assert run.info.status == "FINISHED"
    for metric in ("train/loss", "val/accuracy"):
        points = slurm.workspace.store().get_metric_history(run.info.run_id, metric)
        assert sorted(point.step for point in points) == list(range(1, EPOCHS + 1))
    if not command:
        rows = read_csv(slurm.workspace.root / "metrics/history.csv")
        assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))


def test_a_job_that_fails_by_itself_is_not_queued_again(slurm: Slurm) -> None:
    assert slurm.start("dvc", "repro", "no_such_stage").wait(PATIENCE) != 0
    assert "no_such_stage" in slurm.log.read_text()
    assert slurm.requeued() == []
