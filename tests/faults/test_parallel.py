"""Many processes at one MLflow store, and processes killed while they make it or write to it."""

import json
import multiprocessing
import os
import random
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from src import tracking
from src.params import parse_params
from src.yaml_files import read_yaml
from tests.pipeline.test_pipeline import assert_complete as assert_complete_run
from tests.pipeline.workspace import IDENTITY, Workspace
from tests.run_files import assert_complete, committed_params, enter_run, exit_code, sync, train

PROCESSES = 8
GRID = {"norm": ["batch", "layer"], "seed": [1, 2]}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a finished run, without an MLflow store."""
    enter_run(tmp_path, monkeypatch)
    return tmp_path


def assert_no_litter(root: Path) -> None:
    """The store is whole, and nothing is left beside it of processes that were killed, nor of locks."""
    with sqlite3.connect(root / "mlflow.db") as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()
    assert [file.name for file in root.iterdir() if "mlflow.db" in file.name] == ["mlflow.db"]
    assert not list((root / ".locks").iterdir())


@pytest.mark.slow
def test_eight_processes_at_a_store_that_does_not_exist_yet(workspace: Path) -> None:
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(PROCESSES)

    def experiment(seed: int) -> None:
        together.wait()
        assert train(committed_params(seed=seed)).complete
        assert sync(committed_params(seed=seed)).complete

    processes = [fork.Process(target=experiment, args=(seed,)) for seed in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    for seed in range(PROCESSES):
        assert_complete(workspace, committed_params(seed=seed), workspace)
    assert_no_litter(workspace)


@pytest.mark.slow
def test_eight_syncs_at_once_make_one_complete_run(copy: Workspace, tmp_path: Path) -> None:
    """In a workspace without a store; DVC's lock, the run and every table are wanted by all of them."""
    assert not (copy.root / "mlflow.db").exists()
    logs = [tmp_path / f"{number}.log" for number in range(PROCESSES)]
    processes = [copy.start(log, "python", "-m", "commands.sync") for log in logs]
    try:
        codes = [process.wait(600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0] * PROCESSES, "\n".join(log.read_text() for log in logs)
    assert all("is complete: prepare, lr_range, train" in log.read_text() for log in logs)
    params = parse_params(read_yaml(copy.root / "params.yaml"))
    key = json.loads((copy.root / "models/model.json").read_text())["model_key"]
    assert_complete(copy.root, params, copy.root, key, params.train.epochs)
    (run,) = copy.runs()
    assert_complete_run(copy, run)
    assert_no_litter(copy.root)


@pytest.mark.slow
@pytest.mark.parametrize(("held", "returncode"), [(8.0, 0), (60.0, 1)])
def test_sync_waits_for_another_dvc_and_not_for_ever(
    copy: Workspace, tmp_path: Path, held: float, returncode: int
) -> None:
    (copy.root / ".dvc/tmp").mkdir(exist_ok=True)
    hold = (
        "import time, zc.lockfile; lock = zc.lockfile.LockFile('.dvc/tmp/lock'); "
        f"print('locked', flush=True); time.sleep({held})"
    )
    holder = subprocess.Popen(["python", "-c", hold], cwd=copy.root, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "locked\n"
    code = (
        "from commands import sync; from src.runtime import dvc; from src.runtime.run import run_command; "
        "dvc.WAIT = 4; run_command(sync.complete)"
    )
    if returncode == 0:
        code = code.replace("WAIT = 4", "WAIT = 100")
    done = copy.run("python", "-c", code)
    holder.kill()
    holder.wait()
    assert done.returncode == returncode, done.stderr
    assert done.stdout.count("another DVC command in this workspace") == 1
    assert ("is complete" in done.stdout) == (returncode == 0)
    assert done.stderr.startswith("error: another DVC command has locked") == (returncode == 1), done.stderr


def kill_at_statement(number: int) -> None:
    """Kill this process before it executes SQL statement `number` of 0, 1, ..."""
    statements = count()

    def before(*_: object) -> None:
        if next(statements) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", before)


@pytest.mark.slow
def test_a_process_killed_while_it_makes_the_store_leaves_nothing_in_the_way(workspace: Path) -> None:
    def make(killed_at: int) -> None:
        kill_at_statement(killed_at)
        tracking.open_store()

    for statement in range(0, 10_000, 200):
        if exit_code(lambda at=statement: make(at)) == 0:
            break  # all of it has been gone through
        assert not (workspace / "mlflow.db").exists()
        assert exit_code(tracking.open_store) == 0
        assert_no_litter(workspace)
        (workspace / "mlflow.db").unlink()
    assert statement > 1000


@pytest.mark.slow
def test_processes_killed_at_any_time_while_they_make_the_store(workspace: Path) -> None:
    """The moments are random; the store is there after some of them, and then whole."""
    fork = multiprocessing.get_context("fork")
    start = time.monotonic()
    assert exit_code(tracking.open_store) == 0
    longest = time.monotonic() - start
    for _ in range(12):
        (workspace / "mlflow.db").unlink(missing_ok=True)
        child = fork.Process(target=tracking.open_store)
        child.start()
        time.sleep(random.uniform(0, longest))
        child.kill()
        child.join()
    assert train(committed_params()).complete
    assert_no_litter(workspace)


@pytest.mark.slow
def test_a_process_killed_while_it_writes_harms_no_run(workspace: Path) -> None:
    def killed_training(at: int) -> None:
        kill_at_statement(at)
        train(committed_params(seed=1))

    assert exit_code(lambda: sync(committed_params())) == 0
    for statement in range(0, 10_000, 15):
        if exit_code(lambda at=statement: killed_training(at)) == 0:
            break
    assert statement > 100
    assert sync(committed_params(seed=1)).complete
    for seed in (0, 1):
        assert_complete(workspace, committed_params(seed=seed), workspace)
    assert_no_litter(workspace)


@pytest.fixture
def queue(copy: Workspace) -> Iterator[Workspace]:
    """A workspace whose queue workers are ended, whatever happens."""
    yield copy
    copy.run("dvc", "queue", "stop", "--kill")
    deadline = time.monotonic() + 20
    while workers := copy.processes():
        if time.monotonic() > deadline:
            for worker in workers:
                worker.kill()
        time.sleep(0.2)


@pytest.mark.slow
def test_four_queued_experiments_at_once_leave_four_complete_runs(queue: Workspace, tmp_path: Path) -> None:
    grid = [part for key, values in GRID.items() for part in ("-S", f"{key}={','.join(map(str, values))}")]
    queue.ok("dvc", "exp", "run", "--queue", *grid, **IDENTITY)
    # Into a file: DVC leaves a process beside each worker that holds a pipe open for as long as the queue has work.
    assert queue.start(tmp_path / "start.log", "dvc", "queue", "start", "-j", "4", **IDENTITY).wait(60) == 0
    expected = len(GRID["norm"]) * len(GRID["seed"])
    deadline = time.monotonic() + 900  # of two cores that another test shares
    while (status := queue.ok("dvc", "queue", "status")).count("Success") < expected:
        if "Failed" in status or time.monotonic() > deadline:
            names = re.findall(r"^(\w{7})\s", status, re.MULTILINE)
            logs = [queue.run("dvc", "queue", "logs", name).stdout[-3000:] for name in names]
            pytest.fail("\n".join([status, *logs]))
        time.sleep(5)  # each look costs a second of a core

    runs = queue.runs()
    assert {(run.data.params["norm"], run.data.params["seed"]) for run in runs} == {
        (norm, str(seed)) for norm in GRID["norm"] for seed in GRID["seed"]
    }
    assert len(runs) == expected
    for run in runs:
        assert_complete_run(queue, run)
    assert not list((queue.root / ".dvc/tmp/exps").glob("tmp*/dvc.yaml")), "the temporary copies are still there"
    shown = json.loads(queue.ok("dvc", "exp", "show", "--json"))
    names = {e["name"] for rev in shown for e in rev.get("experiments") or []}
    assert {run.info.run_name for run in runs} <= names
    assert all(lock.name.startswith("cpu-") for lock in (queue.root / ".locks").iterdir())  # one a core, not a run
