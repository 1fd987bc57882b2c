"""The door that every command goes through."""

import subprocess
import sys

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
