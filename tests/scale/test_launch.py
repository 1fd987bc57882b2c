"""The stage `train` on several devices: ranks that die, a stage that is stopped, two nodes, what a person is told."""

import os
import re
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from src.artifacts import read_csv, read_json
from src.launch import ADDRESS, NODE, RENDEZVOUS
from src.processes import cores
from tests.faults.test_killed import all_ended, trained, wait_for
from tests.pipeline.workspace import Workspace, failure
from tests.scale.conftest import EPOCHS

pytestmark = [
    pytest.mark.scale,
    pytest.mark.skipif(cores() < 2, reason="two devices of a CPU are two cores"),
]
TRAIN = ("python", "-m", "stages.train")
LOSSES = ("train_loss", "val_loss")  # an image more or less right is 5 % of the validation split


def ranks(workspace: Workspace) -> dict[int, psutil.Process]:
    """The processes that train, by rank."""
    found = {}
    for process in workspace.processes():
        with suppress(psutil.Error):
            rank = process.environ().get("RANK")
            if rank is not None and process.cmdline()[-2:] == ["-m", "stages.train"]:
                found[int(rank)] = process
    return found


def assert_close(workspace: Workspace, other: Workspace) -> None:
    """Both have learning curves that differ by rounding alone."""
    rows, expected = (read_csv(place.root / "metrics/history.csv") for place in (workspace, other))
    for row, other_row in zip(rows, expected, strict=True):
        for name in LOSSES:
            assert float(row[name]) == pytest.approx(float(other_row[name]), rel=2e-3), (row["epoch"], name)


@pytest.fixture(scope="module")
def alone(ready: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The training on one device."""
    workspace = ready.copy(tmp_path_factory.mktemp("alone") / "alone")
    workspace.set_params({"train.devices": 1})
    workspace.ok(*TRAIN)
    return workspace


def test_a_dead_rank_ends_the_stage_and_one_device_goes_on(
    workspace: Workspace, alone: Workspace, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    stage = workspace.start(log, *TRAIN)
    wait_for(lambda: trained(log) > 1, "two epochs")
    victim = ranks(workspace)[1]
    victim.kill()
    start = time.monotonic()
    assert stage.wait(60) == 1
    assert time.monotonic() - start < 20
    all_ended(workspace)
    text = log.read_text()
    assert re.search(rf"error: rank 1 of the training \(process {victim.pid}\) was ended by SIGKILL", text), text
    assert "Traceback" not in text
    assert "stopped by" not in text
    assert not (workspace.root / "models/model.safetensors").exists()
    (run,) = workspace.runs()
    assert run.info.status == "FAILED"
    assert "rank 1" in run.data.tags["failure"]

    workspace.set_params({"train.devices": 1})
    said = workspace.ok(*TRAIN)
    assert re.search(r"resuming after epoch ([2-7]) of 8", said), said
    assert_close(workspace, alone)
    model, expected = (read_json(place.root / "models/model.json") for place in (workspace, alone))
    assert model["model_key"] == expected["model_key"]
    workspace.set_params({"train.devices": 2})
    again = workspace.ok(*TRAIN)
    assert "resuming after epoch 8 of 8" in again


@pytest.mark.parametrize("way", ["SIGKILL to the stage", "SIGTERM to the stage", "Ctrl-C", "SIGKILL to dvc"])
def test_a_stopped_stage_leaves_no_rank(workspace: Workspace, tmp_path: Path, way: str) -> None:
    log = tmp_path / "log"
    command = ("dvc", "repro", "train") if way == "SIGKILL to dvc" else TRAIN
    stage = workspace.start(log, *command)
    wait_for(lambda: trained(log) > 0, "an epoch")
    assert set(ranks(workspace)) == {0, 1}
    match way:
        case "SIGKILL to the stage" | "SIGKILL to dvc":
            stage.kill()
        case "SIGTERM to the stage":
            stage.terminate()
        case "Ctrl-C":
            os.killpg(stage.pid, signal.SIGINT)
    assert stage.wait(60) != 0
    all_ended(workspace)
    text = log.read_text()
    assert "Traceback" not in text, text
    (run,) = workspace.runs()
    if way == "SIGKILL to the stage":
        assert run.info.status == "RUNNING"  # nobody could close it: the next start does
        return
    assert run.info.status == "KILLED"
    by = "Ctrl-C" if way == "Ctrl-C" else "SIGTERM"
    assert text.count(f"stopped by {by}. ") == 1, text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def node(number: int, port: int) -> dict[str, str]:
    """The environment of one of two nodes that are both on this machine."""
    return {NODE: str(number), RENDEZVOUS: f"127.0.0.1:{port}", ADDRESS: "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}


def test_two_nodes_train_one_model(workspace: Workspace, alone: Workspace, tmp_path: Path) -> None:
    """Two agents of one device each that meet on the loopback device; the second one has a workspace of its own."""
    port = free_port()
    workspace.set_params({"train.devices": 1, "train.nodes": 2})
    helper = workspace.copy(tmp_path / "helper")
    log, other = tmp_path / "log", tmp_path / "other"
    helping = helper.start(other, *TRAIN, **node(1, port))
    stage = workspace.start(log, *TRAIN, **node(0, port))
    assert (stage.wait(200), helping.wait(60)) == (0, 0), log.read_text() + other.read_text()
    assert trained(log) == EPOCHS
    assert "node 1 of 2: " in other.read_text()
    assert not (helper.root / "models/model.safetensors").exists()
    assert not (helper.root / ".checkpoints").exists()
    assert not (helper.root / "mlflow.db").exists()
    assert_close(workspace, alone)
    (run,) = workspace.runs()
    assert run.info.status == "FINISHED"


def test_a_node_with_another_seed_is_refused_and_ends_the_other(workspace: Workspace, tmp_path: Path) -> None:
    port = free_port()
    workspace.set_params({"train.devices": 1, "train.nodes": 2})
    helper = workspace.copy(tmp_path / "helper")
    helper.set_params({"seed": 7})
    log, other = tmp_path / "log", tmp_path / "other"
    helping = helper.start(other, *TRAIN, **node(1, port))
    stage = workspace.start(log, *TRAIN, **node(0, port))
    assert (stage.wait(200), helping.wait(60)) == (1, 1), log.read_text() + other.read_text()
    assert "error: rank 1 has different parameters, data or code" in other.read_text()
    assert "a process of this training on another node has ended" in log.read_text()


def test_numbers_that_are_not_finite_stop_all_ranks_with_one_sentence(workspace: Workspace) -> None:
    (workspace.root / "models/lr.json").write_text('{"lr": 1e25}')
    done = workspace.run(*TRAIN)
    assert done.returncode == 1, failure(done)
    assert len(re.findall("error: the loss or its gradient is not finite in epoch 1, step", done.stderr)) == 1, done
    assert "Traceback" not in done.stderr
    (run,) = workspace.runs()
    assert run.info.status == "FAILED"
    assert "not finite" in run.data.tags["failure"]
    assert not list((workspace.root / ".checkpoints").rglob("*.pt"))


def test_an_error_of_the_program_shows_the_traceback_of_its_rank(workspace: Workspace) -> None:
    """All ranks fail, and any of them may be the first."""
    schedules = workspace.root / "src/training/schedules.py"
    schedules.write_text(schedules.read_text() + "\n\ndef make_schedule(*_): raise ZeroDivisionError('by hand')\n")
    done = workspace.run(*TRAIN)
    assert done.returncode == 1
    assert re.search(r"rank [01] failed:.*ZeroDivisionError: by hand", done.stderr, re.DOTALL), failure(done)
