"""The door that every command goes through."""

import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    code = "from commands import run_command; run_command(lambda: print('line\\n' * 100_000))"
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
        ("sys.argv[0] = '-m'; import commands; commands.run_command(stop)", 1, "stopped by Ctrl-C\n"),
        ("import commands; commands.run_command(stop)", 1, "stopped by Ctrl-C\n"),
        ("sys.argv[0] = '-m'; import commands; commands.run_command(int); stop()", -signal.SIGINT, ""),  # as it ends
    ],
)
def test_ctrl_c_is_never_a_traceback(code: str, status: int, said: str) -> None:
    begin = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit an ignored one
def stop(): signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run(
        [sys.executable, "-c", begin + code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, said)
