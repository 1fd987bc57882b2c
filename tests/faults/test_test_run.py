"""A test run ends, whatever becomes of its processes."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PASSES = "def test_passes(): pass\n"
CRASHES = "import os, signal\ndef test_crashes(): os.kill(os.getpid(), signal.SIGSEGV)\n"
HANGS = "import time\ndef test_hangs(): time.sleep(120)\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "limit", "named"),
    [
        ({"test_a.py": CRASHES, "test_b.py": CRASHES}, 300, "test_crashes"),
        ({"test_a.py": CRASHES, "test_b.py": HANGS}, 300, "test_crashes"),
        ({"test_a.py": HANGS, "test_b.py": PASSES}, 2, "test_hangs"),
    ],
    ids=["both-crash", "one-crashes-while-the-other-works", "one-hangs"],
)
def test_a_run_with_a_dead_process_ends_and_names_the_test(
    tmp_path: Path, files: dict[str, str], limit: int, named: str
) -> None:
    """With the settings of this repository, as `make test` runs it."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    options = ["-n", "2", "--dist", "loadfile", "-p", "tests.conftest", "-o", f"faulthandler_timeout={limit}"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    started = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode != 0
    assert f"::{named}" in done.stdout, done.stdout + done.stderr
    assert time.monotonic() - started < 60
