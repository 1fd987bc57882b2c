"""Stops that wait for the end of a block, and the environment of what we start."""

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from src.processes import experiment_environment, stops_wait
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("stops")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_heard_at_the_end_and_once(signum: signal.Signals) -> None:
    done = []

    def work() -> None:
        with stops_wait():
            signal.raise_signal(signum)
            signal.raise_signal(signum)
            done.append("work")
        done.append("more work")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["work"]
    assert signal.getsignal(signum) is signal.default_int_handler


def test_a_stop_comes_before_the_error_of_the_block() -> None:
    def work() -> None:
        with stops_wait():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        work()


def test_without_a_stop_nothing_changes() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stops_wait():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_in_a_thread_it_is_just_a_block() -> None:
    def work() -> str:
        with stops_wait():
            return "done"

    with ThreadPoolExecutor() as threads:
        assert threads.submit(work).result() == "done"


def test_experiments_and_make_import_from_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    assert "PYTHONSAFEPATH" not in experiment_environment()
    rules = f"include {REPOSITORY}/Makefile\nshow:\n\t@env\n"
    shown = subprocess.run(["make", "-f", "-", "show"], input=rules, capture_output=True, text=True, check=True).stdout
    assert "PATH=" in shown
    assert "PYTHONSAFEPATH" not in shown
