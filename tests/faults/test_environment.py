"""Environment variables that change how Python starts."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.workspace import Workspace, stages_run

SHELLS = [shell for shell in ("/bin/sh", "bash", "zsh", "fish") if shutil.which(shell)]  # DVC takes the one of $SHELL


@pytest.mark.slow
def test_stages_run_where_python_does_not_import_from_the_current_folder(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "workspace")
    for shell in SHELLS:
        environment = {"PYTHONSAFEPATH": "1", "SHELL": shutil.which(shell) or shell}
        output = workspace.ok("dvc", "repro", "--force", "download", **environment)
        assert stages_run(output) == ["check", "download"], shell
