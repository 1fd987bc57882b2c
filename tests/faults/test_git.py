"""Git in a state that a person did not choose: after a killed experiment, and in a shallow clone."""

import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.test_killed import all_ended, stage, wait_for
from tests.pipeline.workspace import IDENTITY, Workspace, failure, stages_run

KILLED = {"norm": "layer", "train.epochs": 30}  # values of the experiment that is killed


def kill_an_experiment(workspace: Workspace, stop: signal.Signals) -> None:
    """Send `stop` to `dvc exp run` after its first stage; the values of KILLED are then staged."""
    flags = [word for key, value in KILLED.items() for word in ("-S", f"{key}={value}")]
    dvc = workspace.start(workspace.root.parent / "log", "dvc", "exp", "run", *flags, **IDENTITY)
    wait_for(lambda: stage(workspace, "download"), "the second stage has started")
    dvc.send_signal(stop)
    assert dvc.wait(60) == -stop
    all_ended(workspace)
    assert "params.yaml" in workspace.ok("git", "diff", "--cached", "--name-only").split()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_a_killed_experiment_left_is_undone_by_the_printed_command(stop: signal.Signals, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "workspace")
    branch, before = workspace.ok("git", "branch", "--show-current"), workspace.params()
    kill_an_experiment(workspace, stop)
    printed = re.search(r"Undo it with: (.+)", workspace.ok("python", "-m", "stages.check"))
    assert printed is not None
    workspace.ok("sh", "-c", printed[1])
    assert workspace.params() == before
    assert workspace.ok("git", "status", "--short", "params.yaml") == ""
    workspace.ok("git", "switch", "-")
    assert workspace.ok("git", "branch", "--show-current") == branch


@pytest.mark.slow
def test_the_next_run_names_the_values_of_a_killed_experiment_and_a_recipe_drops_them(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "workspace")
    committed = workspace.params()
    kill_an_experiment(workspace, signal.SIGKILL)

    other = workspace.copy(tmp_path / "other")
    output = other.ok("dvc", "exp", "run", "-S", "seed=3", "check", **IDENTITY)
    assert stages_run(output) == ["check"]
    for key, value in {**KILLED, "seed": 3}.items():
        assert f"{key} {committed[key]!r} -> {value!r}" in output

    (workspace.root / "recipes/mine.yaml").write_text("# Mine\nnorm: group\n")
    output = workspace.ok("python", "-m", "recipes", "mine", "-S", "seed=3", "check", **IDENTITY)
    assert "train.epochs was 30 (not committed)" in output
    assert workspace.params() == committed | {"recipe": "mine", "norm": "group", "seed": 3}


@pytest.fixture
def clone(tmp_path: Path) -> Workspace:
    """A shallow clone of a workspace."""
    whole = Workspace.create(tmp_path / "whole")
    place = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{whole.root}", place], check=True)
    return Workspace(place)


def experiment(output: str) -> str:
    """The name of the experiment that DVC says it ran."""
    name = re.search(r"Ran experiment\(s\): (\S+)", output)
    assert name is not None, output
    return name[1]


@pytest.mark.slow
def test_a_shallow_clone_keeps_experiments_of_the_workspace_and_rejects_those_in_a_copy(clone: Workspace) -> None:
    run = ("dvc", "exp", "run", "-S", "norm=layer")
    kept = experiment(clone.ok(*run, "check", **IDENTITY))
    assert kept in clone.ok("dvc", "exp", "list")

    done = clone.run(*run, "--temp", "download", **IDENTITY)
    output = done.stdout + done.stderr
    assert done.returncode != 0, failure(done)
    assert stages_run(output) == ["download"]  # DVC takes `check` from its cache
    assert "dvc checkout" not in output
    command = re.search(r"git -C \S+ fetch --unshallow", output)
    assert command is not None, output

    clone.ok(*shlex.split(command[0]))
    kept = experiment(clone.ok(*run, "--temp", "download", **IDENTITY))
    assert kept in clone.ok("dvc", "exp", "list")


@pytest.mark.slow
def test_a_queued_experiment_of_a_shallow_clone_fails_in_its_first_stage(clone: Workspace) -> None:
    clone.ok("dvc", "exp", "run", "--queue", "-S", "norm=layer", **IDENTITY)
    clone.start(clone.root.parent / "queue.log", "dvc", "queue", "start", **IDENTITY).wait(60)

    def ended() -> str | None:
        time.sleep(1)  # each look costs a second of a core
        status = clone.ok("dvc", "queue", "status")
        return None if re.search(r"Queued|Running", status) else status

    failed = re.search(r"^(\w{7}) .*Failed", wait_for(ended, "the experiment has ended"), re.MULTILINE)
    assert failed is not None
    log = clone.ok("dvc", "queue", "logs", failed[1])
    assert "fetch --unshallow" in log
    assert stages_run(log) == ["check"]
    clone.run("dvc", "queue", "stop", "--kill")
