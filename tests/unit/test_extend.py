"""The diffs of docs/guides/extend.md apply to this code, and what they add works."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY, copy_repository

GUIDE = (REPOSITORY / "docs/guides/extend.md").read_text(encoding="utf-8")
DIFFS = re.findall(r"^```diff\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
GRAPH = "tests/unit/test_dvc_graph.py::test_every_{}[confusions]"
DECLARED = ("imported_file_is_declared", "declared_file_or_folder_is_imported", "parameter_read_is_declared")


def test_every_change_applies_and_its_tests_pass(tmp_path: Path) -> None:
    root = copy_repository(tmp_path)
    assert len(DIFFS) == 4
    for diff in DIFFS:
        done = subprocess.run(["git", "apply", "-"], cwd=root, input=diff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}Make the change by hand and put `git diff -U1` into the guide"
    added = [file for diff in DIFFS for file in re.findall(r"^\+\+\+ b/(tests/.*)$", diff, re.MULTILINE)]
    assert len(added) >= 4
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *added, *map(GRAPH.format, DECLARED)],
        cwd=root,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
