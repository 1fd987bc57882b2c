"""Killed in any way at any moment: nothing is lost, nothing is trained twice, nobody is left behind."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import yaml
from mlflow.entities import Run

from src.artifacts import read_csv, read_json, sha256_file
from tests.conftest import REPOSITORY
from tests.pipeline.workspace import IDENTITY, Workspace, failure, stages_run

LONG = {"train.epochs": 30, "train.batch_size": 4}  # epochs of a third of a second
MEASURED = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
WAYS = ("SIGKILL to the stage", "SIGTERM to the stage", "SIGKILL to dvc", "SIGTERM to dvc", "Ctrl-C")

T = TypeVar("T")
pytestmark = pytest.mark.usefixtures("stops")


@pytest.fixture(scope="module")
def ready(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose next `dvc repro` trains the parameters `LONG`. Change a copy, never this."""
    workspace = finished.copy(tmp_path_factory.mktemp("killed") / "ready")
    workspace.set_params(LONG)
    workspace.ok("git", "commit", "-qam", "long", **IDENTITY)
    workspace.ok("dvc", "repro", "lr_range")
    return workspace


@pytest.fixture(scope="module")
def whole(ready: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same after a training that nobody interrupted."""
    workspace = ready.copy(tmp_path_factory.mktemp("killed") / "whole")
    workspace.ok("python", "-m", "stages.train")
    return workspace


@pytest.fixture
def workspace(ready: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of `ready`, and an end to all that still runs in it."""
    workspace = ready.copy(tmp_path / "workspace")
    yield workspace
    for process in workspace.processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 120) -> T:
    """What `condition` returns as soon as that is neither None nor False nor empty."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


def stage(workspace: Workspace, name: str) -> psutil.Process | None:
    """The process of a stage, after DVC's shell and `env` have become Python."""
    for process in workspace.processes():
        with suppress(psutil.Error):  # it ended meanwhile
            if process.cmdline()[1:3] == ["-m", f"stages.{name}"]:
                return process
    return None


def imports(process: psutil.Process) -> None:
    """Wait until a stage has begun to import its libraries."""
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "pydantic_core" in maps.read_text(), "the first library is loaded")


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def trained(log: Path) -> int:
    """The epochs that a process printed."""
    return len(re.findall(r"^ +\d+ +\d+\.\d{4} ", log.read_text().replace("\r", "\n"), re.MULTILINE))


def all_ended(workspace: Workspace) -> None:
    wait_for(lambda: not workspace.processes(), "every process in the workspace has ended", 60)


def locked(workspace: Workspace) -> dict[str, Any]:
    """What DVC has committed of the training."""
    return dict(yaml.safe_load((workspace.root / "dvc.lock").read_text())["stages"]["train"])


def assert_whole(workspace: Workspace, whole: Workspace) -> None:
    """Weights and learning curves are those of the training that nobody interrupted, by the bit."""
    weights, history = "models/model.safetensors", "metrics/history.csv"
    assert sha256_file(workspace.root / weights) == sha256_file(whole.root / weights)
    rows, expected = (read_csv(place.root / history) for place in (workspace, whole))
    assert [[row[name] for name in MEASURED] for row in rows] == [[row[name] for name in MEASURED] for row in expected]


def assert_one_run(workspace: Workspace) -> Run:
    """There is one MLflow run, finished, with each epoch once."""
    (run,) = workspace.runs()
    assert run.info.status == "FINISHED"
    assert "failure" not in run.data.tags
    for metric in ("train/loss", "val/accuracy", "system/memory_gib"):
        points = workspace.store().get_metric_history(run.info.run_id, metric)
        assert sorted(point.step for point in points) == list(range(1, 31)), metric
    return run


def assert_tidy(workspace: Workspace) -> None:
    """No temporary file is left, no lock, and two checkpoints of each model."""
    names = [path.relative_to(workspace.root) for path in workspace.root.rglob(".*") if path.is_file()]
    own = [name for name in names if name.parts[0] not in (".git", ".dvc")]
    assert [name for name in own if re.fullmatch(r"\..+\.\d+(\..+)?", name.name)] == []
    assert [f.name for f in (workspace.root / ".locks").iterdir() if not f.name.startswith("cpu-")] == []
    for folder in (workspace.root / ".checkpoints").iterdir():
        assert len(list(folder.iterdir())) == 5, list(folder.iterdir())


def weights_of(workspace: Workspace, experiment: str) -> str:
    """MD5 of the weights that DVC committed for an experiment."""
    refs = workspace.ok("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (ref,) = [ref for ref in refs if ref.endswith(f"/{experiment}")]
    outs = yaml.safe_load(workspace.ok("git", "show", f"{ref}:dvc.lock"))["stages"]["train"]["outs"]
    return str({out["path"]: out["md5"] for out in outs}["models/model.safetensors"])


def strike(way: str, workspace: Workspace, dvc: subprocess.Popen[bytes]) -> None:
    target = stage(workspace, "train")
    assert target is not None
    match way:
        case "SIGKILL to the stage":
            target.kill()
        case "SIGTERM to the stage":
            target.terminate()
        case "SIGKILL to dvc":
            dvc.kill()
        case "SIGTERM to dvc":
            dvc.terminate()
        case "Ctrl-C":
            os.killpg(dvc.pid, signal.SIGINT)


@pytest.mark.slow
def test_eleven_kills_at_random_moments_change_nothing(workspace: Workspace, whole: Workspace, tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(2**32))
    chance = random.Random(seed)
    seconds = max(float(row["seconds"]) for row in read_csv(whole.root / "metrics/history.csv"))  # of an epoch
    ways = [*WAYS, *WAYS, chance.choice(WAYS)]
    epochs = [None, None, None, *(chance.randrange(2) for _ in range(8))]  # that an attempt lasts; None: not even one
    chance.shuffle(ways)
    chance.shuffle(epochs)
    told = [f"KILL_SEED={seed}"]
    committed = locked(workspace)
    resumed = 0
    for number, (way, lasts) in enumerate(zip(ways, epochs, strict=True)):
        log = tmp_path / f"{number}.log"
        dvc = workspace.start(log, "dvc", "repro")
        target = wait_for(lambda: stage(workspace, "train"), "the stage has started")
        if way == "Ctrl-C":  # Python itself prints a traceback until it has come to our code
            imports(target)
        if lasts is None:  # in the imports, while the data is loaded, in the first epoch
            moment = time.monotonic() + chance.uniform(0, 4)
            wait_for(lambda: time.monotonic() > moment or trained(log) > 0, "the moment has come")  # noqa: B023
        else:
            wait_for(lambda: trained(log) > lasts, f"{lasts + 1} epochs")  # noqa: B023
            time.sleep(chance.uniform(0, seconds))  # within an epoch, or in a checkpoint's writing
        strike(way, workspace, dvc)
        told.append(f"{way} after {trained(log)} epochs")
        print(*told, sep="\n")
        assert dvc.wait(60) != 0, log.read_text()
        all_ended(workspace)
        assert stages_run(log.read_text()) == ["train"], log.read_text()
        assert locked(workspace) == committed
        assert "Traceback" not in log.read_text()
        resumed += "resuming after epoch" in log.read_text()

    last = workspace.ok("dvc", "repro")
    assert "resuming after epoch" in last
    assert resumed >= 5, told
    assert stages_run(last) == ["train", "evaluate", "gradcam", "report"]
    assert_whole(workspace, whole)
    assert_one_run(workspace)
    assert_tidy(workspace)
    assert workspace.processes() == []


@pytest.mark.slow
def test_killed_between_stages_and_in_the_next_one(workspace: Workspace, whole: Workspace, tmp_path: Path) -> None:
    shutil.copytree(whole.root / ".checkpoints", workspace.root / ".checkpoints", dirs_exist_ok=True)  # to save time
    committed = locked(workspace)
    dvc = workspace.start(tmp_path / "train.log", "dvc", "repro")
    process = wait_for(lambda: stage(workspace, "train"), "the stage has started")
    os.kill(dvc.pid, signal.SIGSTOP)  # so that it cannot commit what the stage leaves
    wait_for(lambda: ended(process), "the stage has ended")
    assert read_json(workspace.root / "metrics/train.json")["epochs"] == 30
    dvc.kill()
    assert dvc.wait() != 0
    assert locked(workspace) == committed

    log = tmp_path / "evaluate.log"
    dvc = workspace.start(log, "dvc", "repro")
    wait_for(lambda: stage(workspace, "evaluate"), "the next stage has started").kill()
    assert dvc.wait(60) != 0
    assert "resuming after epoch 30 of 30" in log.read_text()
    assert stages_run(log.read_text()) == ["train", "evaluate"]
    all_ended(workspace)

    assert stages_run(workspace.ok("dvc", "repro", "evaluate")) == ["evaluate"]
    assert_whole(workspace, whole)
    assert_one_run(workspace)
    assert_tidy(workspace)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize("moment", ["imports", "training"])
def test_a_killed_dvc_leaves_no_trainer(workspace: Workspace, tmp_path: Path, shell: str, moment: str) -> None:
    """`sh` may be dash, which stays between DVC and what it starts; bash does not."""
    log = tmp_path / "log"
    dvc = workspace.start(log, "dvc", "repro", "train", SHELL=shell)
    process = wait_for(lambda: stage(workspace, "train"), "the stage has started")
    assert process.ppid() == dvc.pid
    if moment == "imports":
        imports(process)
    else:
        wait_for(lambda: trained(log) > 1, "two epochs")
    dvc.kill()
    dvc.wait()
    wait_for(lambda: ended(process), "the trainer has ended", 30)
    assert trained(log) < 30
    assert workspace.processes() == []
    if moment == "imports":
        assert not (workspace.root / "mlflow.db").exists()
    else:
        (run,) = workspace.runs()
        assert run.info.status == "KILLED"
        assert "stopped by SIGTERM. " in log.read_text()


@pytest.mark.slow
def test_ctrl_c_lets_the_dvc_of_a_recipe_end_in_order(workspace: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "log"
    recipe = workspace.start(log, "python", "-m", "recipes", "quick", **IDENTITY)
    imports(wait_for(lambda: stage(workspace, "check"), "the stage has started"))
    os.killpg(recipe.pid, signal.SIGINT)
    assert recipe.wait(60) == 255
    assert workspace.processes() == []
    assert "ERROR: failed to reproduce 'check'" in log.read_text()
    assert "Traceback" not in log.read_text()
    workspace.ok("git", "symbolic-ref", "HEAD")  # on its branch again: DVC leaves it while an experiment runs
    for lock in workspace.root.glob(".dvc/tmp/**/rwlock"):
        assert not any(json.loads(lock.read_text()).values()), f"{lock} was left behind"


@pytest.mark.slow
def test_a_killed_queued_experiment_goes_on_when_it_is_queued_again(
    workspace: Workspace, whole: Workspace, tmp_path: Path
) -> None:
    def queue() -> None:
        workspace.ok("dvc", "exp", "run", "--queue", "train", **IDENTITY)
        workspace.start(tmp_path / "queue.log", "dvc", "queue", "start", **IDENTITY).wait(60)

    queue()
    wait_for(lambda: any((workspace.root / ".checkpoints").glob("*/epoch-000003.pt")), "three epochs")
    for process in workspace.processes():
        process.kill()
    all_ended(workspace)
    copies = list((workspace.root / ".dvc/tmp/exps").glob("tmp*/"))
    assert len(copies) == 1
    shutil.rmtree(copies[0])
    (run,) = workspace.runs()
    assert run.info.status == "RUNNING"  # nobody could close it

    queue()

    def success() -> re.Match[str] | None:
        time.sleep(2)  # each look costs a second of a core
        status = workspace.ok("dvc", "queue", "status")
        assert "Failed" not in status
        return re.search(r"^(\w{7}) +(\S+) .*Success", status, re.MULTILINE)

    task, name = wait_for(success, "the experiment has ended", 200).groups()
    assert re.search(r"resuming after epoch ([3-9]|\d\d) of 30", workspace.ok("dvc", "queue", "logs", task))
    assert assert_one_run(workspace).info.run_id == run.info.run_id
    assert weights_of(workspace, name) == md5((whole.root / "models/model.safetensors").read_bytes()).hexdigest()
    workspace.run("dvc", "queue", "stop", "--kill")


@pytest.mark.slow
def test_a_second_start_of_the_same_model_waits_and_uses_the_result(workspace: Workspace, tmp_path: Path) -> None:
    command = ("dvc", "exp", "run", "--temp", "-S", "train.epochs=4", "train")
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    first = workspace.start(one, *command, **IDENTITY)
    wait_for(lambda: trained(one) > 0, "an epoch")
    trainer = stage(workspace, "train")
    assert trainer is not None
    trainer.suspend()  # until the second one waits
    second = workspace.start(other, *command, **IDENTITY)
    waiting = f"process {trainer.pid} on "
    wait_for(lambda: waiting in other.read_text(), "the second one waits")
    trainer.resume()
    assert (first.wait(120), second.wait(120)) == (0, 0), one.read_text() + other.read_text()
    assert (trained(one), trained(other)) == (4, 0)
    assert "is training the same model" in other.read_text()
    assert "resuming after epoch 4 of 4" in other.read_text()

    names = re.findall(r"Ran experiment\(s\): (\S+)", one.read_text() + other.read_text())
    weights, same = (weights_of(workspace, name) for name in names)
    assert weights == same
    (run,) = workspace.runs()
    assert run.info.status == "FINISHED"
    points = workspace.store().get_metric_history(run.info.run_id, "train/loss")
    assert sorted(point.step for point in points) == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_run_left_open_is_closed_and_a_crash_says_why(workspace: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "log"
    trainer = workspace.start(log, "python", "-m", "stages.train")
    wait_for(lambda: trained(log) > 0, "an epoch")
    trainer.kill()
    trainer.wait()
    (run,) = workspace.runs()
    assert run.info.status == "RUNNING"

    schedules = workspace.root / "src/training/schedules.py"
    schedules.write_text(schedules.read_text() + "\n\ndef make_schedule(*_): raise ZeroDivisionError('by hand')\n")
    done = workspace.run("python", "-m", "stages.train")  # other code, so another model and another run
    assert done.returncode == 1, failure(done)
    crashed, killed = workspace.runs()
    assert (killed.info.run_id, killed.info.status) == (run.info.run_id, "KILLED")
    assert crashed.info.status == "FAILED"
    assert crashed.data.tags["failure"] == "ZeroDivisionError: by hand"
    assert json.loads(crashed.data.tags["process"])[1] != trainer.pid


POOL = r"""
import os, sys, time
from pathlib import Path
from src.data import image_folder
from src.params import load_params
def wait(content, size):
    os.write(1, b"%d\n" % os.getpid())  # in one piece: two workers write
    time.sleep(600)
image_folder._try = wait
image_folder.cores = lambda: 2
image_folder.read(Path(sys.argv[1]), load_params().data)
"""


def test_workers_end_with_a_killed_stage(tmp_path: Path) -> None:
    """They would wait for work for ever: each holds the end of the pipe that tells the others."""
    archive = tmp_path / "images.tar"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"")
    subprocess.run(["tar", "-cf", archive, "a", "b"], cwd=tmp_path, check=True)
    with subprocess.Popen(
        [sys.executable, "-c", POOL, archive], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as stage:
        try:
            assert stage.stdout is not None
            workers = [psutil.Process(int(stage.stdout.readline())) for _ in range(2)]
        finally:
            stage.kill()
    try:
        wait_for(lambda: all(map(ended, workers)), "the workers have ended", 20)
    finally:
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
