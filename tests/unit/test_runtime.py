"""What stages and commands share: turns on the CPU, stops, messages and a reader that ends early."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from src.runtime.slots import compute_turn
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one core, so that there is one turn."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


def test_a_turn_is_held_for_the_block_and_given_back(tmp_path: Path) -> None:
    slot = FileLock(tmp_path / ".locks" / "cpu-0.lock")
    with compute_turn(CPU), pytest.raises(TimeoutError):
        slot.acquire(timeout=0)
    slot.acquire(timeout=0)
    slot.release()


def test_a_gpu_needs_no_turn(tmp_path: Path) -> None:
    with compute_turn(torch.device("cuda")):
        assert not (tmp_path / ".locks").exists()


def test_a_second_stage_waits_and_says_so(tmp_path: Path) -> None:
    code = """
import os, torch
from src.runtime.slots import compute_turn
os.sched_getaffinity = lambda _: {0}
with compute_turn(torch.device("cpu")):
    print("mine")
"""
    with compute_turn(CPU):
        waiting = subprocess.Popen(
            [sys.executable, "-u", "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert waiting.stdout is not None
        assert "waiting for another stage" in waiting.stdout.readline()
    assert waiting.communicate()[0] == "mine\n"


@pytest.mark.parametrize(("stop", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_stop_ends_with_a_failure_and_a_sentence_after_the_clean_up(stop: signal.Signals, name: str) -> None:
    code = """
import signal, sys, time
from src.runtime.run import run_stage
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit an ignored one
def main(params):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        sys.stdin.readline()
        print("clean", flush=True)
run_stage(main)
"""
    with stage_process(code) as stage:
        assert stage.stdin is not None
        assert stage.stdout is not None
        assert stage.stdout.readline() == "ready\n"
        stage.send_signal(stop)
        assert stage.stdout.readline() == "cleaning\n"
        stage.send_signal(stop)  # a second one does not break the clean-up
        stage.stdin.write("\n")
        output, errors = stage.communicate()
    assert stage.returncode == 1
    assert output == "clean\n"
    assert errors.startswith(f"stopped by {name}. ")
    assert errors.count("\n") == 1


def test_a_stop_that_was_lost_can_be_repeated() -> None:
    code = """
import signal, time
from src.runtime import run
run.CLEAN_UP = 0.0
class Library:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)
def main(params):
    Library()
    print("lost", flush=True)
    time.sleep(60)
run.run_stage(main)
"""
    with stage_process(code) as stage:
        assert stage.stdout is not None
        for said in ("ready\n", "lost\n"):
            assert stage.stdout.readline() == said
            stage.send_signal(signal.SIGTERM)
        _, errors = stage.communicate()
    assert stage.returncode == 1
    assert errors.splitlines()[-1].startswith("stopped by SIGTERM. ")


def test_ctrl_c_during_the_imports_says_nothing() -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "-m"  # as in `python -m stages.NAME`
import stages
print("importing", flush=True)
time.sleep(60)
"""
    with stage_process(code) as stage:
        assert stage.stdout is not None
        assert stage.stdout.readline() == "importing\n"
        stage.send_signal(signal.SIGINT)
        _, errors = stage.communicate()
    assert stage.returncode == -signal.SIGINT
    assert errors == ""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_a_stage_ends_is_a_failure_too_and_says_nothing(stop: signal.Signals) -> None:
    code = f"""
import atexit, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "-m"  # as in `python -m stages.NAME`
import stages
from src.runtime.run import run_stage
atexit.register(signal.raise_signal, {stop.value})  # libraries have such, and take their time
run_stage(lambda params: None)
"""
    with stage_process(code) as stage:
        output, errors = stage.communicate()
    assert stage.returncode == -stop
    assert output == errors == ""


def stage_process(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_libraries_are_loaded_without_garbage_collection_and_the_stage_runs_with_it() -> None:
    code = """
import gc, sys
sys.argv[0] = "-m"  # as in `python -m stages.NAME`
import stages
print(gc.isenabled())
from src.runtime.run import run_stage
run_stage(lambda params: print(gc.isenabled(), gc.get_freeze_count() > 10_000))
"""
    started = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert started.stdout == "False\nTrue True\n"
    assert gc.isenabled()  # this process has imported `stages` too


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    code = "from src.runtime.run import run_command; run_command(lambda: print('line\\n' * 100_000))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("sys.argv[0] = '-m'; import commands; stop()", -signal.SIGINT, ""),  # while it imports its libraries
        ("sys.argv[0] = '-m'; import recipes; stop()", -signal.SIGINT, ""),
        ("sys.argv[0] = '-m'; import commands; run_command(stop)", 1, "stopped by Ctrl-C\n"),
        ("import commands; run_command(stop)", 1, "stopped by Ctrl-C\n"),
        ("sys.argv[0] = '-m'; import commands; run_command(int); stop()", -signal.SIGINT, ""),  # as it ends
    ],
)
def test_ctrl_c_is_never_a_traceback(code: str, status: int, said: str) -> None:
    begin = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit an ignored one
def stop(): signal.raise_signal(signal.SIGINT)
def run_command(main):
    from src.runtime.run import run_command
    run_command(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", begin + code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, said)
