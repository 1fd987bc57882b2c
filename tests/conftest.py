"""What several test files share."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from src.yaml_files import flatten, parse_yaml, read_yaml

if TYPE_CHECKING:
    from tests.pipeline.workspace import Workspace

REPOSITORY = Path(__file__).parent.parent


def _committed_params() -> Path:
    """The params.yaml to test with: as committed, where the workspace's has other values under the same keys.

    An experiment leaves its values there, `make quickstart` too; who adds a parameter tests the file as it is.
    """
    file = REPOSITORY / "params.yaml"
    shown = subprocess.run(
        ["git", "show", "HEAD:params.yaml"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout
    try:
        same_keys = flatten(parse_yaml(shown)).keys() == flatten(read_yaml(file)).keys()
    except (ValueError, AttributeError):  # there is no commit, or one of them is broken
        same_keys = False
    if not same_keys or shown == file.read_text(encoding="utf-8"):
        return file
    folder = tempfile.TemporaryDirectory(prefix="normlens-params-")
    atexit.register(folder.cleanup)
    committed = Path(folder.name) / "params.yaml"
    committed.write_text(shown, encoding="utf-8")
    return committed


PARAMS_YAML = _committed_params()


def pytest_report_header() -> str:
    other = PARAMS_YAML.parent != REPOSITORY
    return "params.yaml: as committed, and not with the values that the workspace's has" if other else ""


# Before torch is imported. Two test processes with two threads each would wait for each other at every step.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Python does not import from the current folder if it is set, and tests start `python -m commands.NAME` there.
os.environ.pop("PYTHONSAFEPATH", None)

# Files whose tests take minutes, begun first: one that begins last leaves a core idle.
LONG = ("faults/test_killed.py", "faults/test_tracker.py", "faults/test_parallel.py", "pipeline/test_compare.py",
        "pipeline/test_use.py", "faults/test_privacy.py", "faults/test_parameters.py")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of LONG before all others."""
    place = {REPOSITORY / "tests" / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: Any) -> None:
    """End the run when a process died: pytest-xdist would wait for the test of the other one, however long it takes."""
    sched.config.hook.pytest_runtest_logreport(report=report)
    pytest.exit(f"{crashitem} ended its process", returncode=1)


def copy_repository(target: Path) -> Path:
    """A git repository of this checkout's files as they are now, committed, with DVC set up and no results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        source = REPOSITORY / name
        result = name == "dvc.lock" or (name.startswith("metrics/") and name != "metrics/README.md")
        if source.is_file() and not result:  # deleted files and links to folders are listed too
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PARAMS_YAML if name == "params.yaml" else source, target / name)
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target


@pytest.fixture
def stops() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise KeyboardInterrupt: no Exception, as a stage's own.

    And what a test starts hears Ctrl-C: a test run in the background ignores it, which is inherited.
    """
    before = {stop: signal.signal(stop, signal.default_int_handler) for stop in (signal.SIGTERM, signal.SIGINT)}
    yield
    for stop, handler in before.items():
        signal.signal(stop, handler)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> "Workspace":
    """A workspace after `dvc repro`, made once for all processes of a test run.

    Change a copy, `finished.copy(...)`, never this.
    """
    from tests.pipeline.workspace import Workspace, stages_run
    from tests.unit.test_dvc_graph import STAGES

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    place = shared / "finished" / "workspace"
    with FileLock(shared / "finished.lock"):
        if not (place.parent / "whole").exists():
            shutil.rmtree(place.parent, ignore_errors=True)
            workspace = Workspace.create(place)
            assert stages_run(workspace.ok("dvc", "repro")) == list(STAGES)
            (place.parent / "whole").touch()
    return Workspace(place)


@pytest.fixture
def copy(finished: "Workspace", tmp_path: Path) -> "Workspace":
    """A workspace after `dvc repro` that a test may change, with an MLflow store that is empty."""
    return finished.copy(tmp_path / "copy")
