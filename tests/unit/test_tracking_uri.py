"""MLFLOW_TRACKING_URI: the same store for every reader, from any folder, or an error that says what to set."""

import subprocess
import sys
from pathlib import Path

import pytest

from commands import register, ui
from commands import sync as sync_command
from src import artifacts, tracking
from src.errors import UserError
from src.params import load_params
from src.tracking.transfer import copy_runs
from src.tracking_uri import is_server, sqlite_file, tracking_uri
from stages import check
from tests.conftest import REPOSITORY
from tests.run_files import committed_params, enter_run
from tests.unit.test_dvc_graph import reached


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The main repository of a finished experiment that ran in a temporary copy, where this process works."""
    copy, main = tmp_path / "copy", tmp_path / "main"
    copy.mkdir()
    main.mkdir()
    enter_run(copy, monkeypatch)
    monkeypatch.setenv("DVC_ROOT", str(main))
    return main


def record_a_run() -> None:
    with tracking.Mirror(committed_params(), "k") as mirror:
        mirror.upload("lr_range")
    assert mirror.complete, mirror.failure


def files() -> set[Path]:
    return {path.relative_to(Path.cwd()) for path in Path.cwd().rglob("*")}


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sqlite:///rel.db", "rel.db"),
        ("sqlite:///./stores/a%20b.db?timeout=30", "stores/a b.db"),
        ("sqlite+pysqlite:///100%25 sure%3F.db", "100% sure?.db"),
    ],
)
def test_a_relative_sqlite_store_is_in_the_main_repository(
    main: Path, monkeypatch: pytest.MonkeyPatch, uri: str, place: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = files()
    record_a_run()
    assert files() == before, "something of the run is lost with the copy"
    assert {entry.name for entry in main.iterdir()} == {Path(place).parts[0], "mlartifacts", ".locks"}
    assert sqlite_file(tracking_uri()) == main / place
    (run,) = tracking.Reader().runs([], "")
    assert run.info.artifact_uri.startswith(f"{main.as_uri()}/mlartifacts/")
    monkeypatch.chdir(main)
    (found,) = tracking.Reader().runs([], "")  # as a command of the main repository does
    assert found.info.run_id == run.info.run_id


def test_a_repository_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "50% off? a%20b #c@d"
    root.mkdir()
    enter_run(root, monkeypatch)
    assert tracking.open_store()[1]
    assert (root / "mlflow.db").stat().st_size
    assert [entry.name for entry in tmp_path.iterdir()] == [root.name]


@pytest.mark.parametrize("uri", ["./runs", "file:./runs", "runs"])
def test_a_folder_that_mlflow_was_told_to_allow_is_in_the_main_repository(
    main: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = files()
    record_a_run()
    assert files() == before
    assert {entry.name for entry in main.iterdir()} == {"runs", "mlartifacts", ".locks"}
    (run,) = tracking.Reader().runs([], "")
    assert "lr_range/valley" in run.data.metrics
    assert run.inputs.dataset_inputs


NEVER = [
    "file:./mlruns", "./mlruns", "mlruns", "/abs/mlruns", "file:///abs/mlruns", "127.0.0.1:5000", "localhost:5000",
    "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:rel.db", "sqlite:/rel.db", "sqlite:///file:rel.db?uri=true",
    "sqlit:///rel.db", "postgres://host/db", "postgresql+nothing://host/db", "uc:prod", "databricks-uc", "ftp://host",
    "http://", "http:/host", "http://:5000", "http://host:port", "http://host:99999", "http://ho st",
]  # fmt: skip


@pytest.mark.parametrize("uri", NEVER)
def test_an_address_that_can_never_work_is_an_error_that_names_another(
    main: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    """In the first stage, before any data is touched, and in every command. Nothing promises to complete a run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(sync_command, "stale_stages", lambda stages: [])
    monkeypatch.setattr(sys, "argv", ["command"])
    params = load_params()
    readers = {
        "check": lambda: check.main(params),
        "a later stage": lambda: tracking.Mirror(params, "k").__enter__(),
        "sync": sync_command.complete,
        "sync --all": lambda: copy_runs("http://127.0.0.1:9", print),
        "register": register.main,
        "ui": ui.main,
        "compare": tracking.Reader,
        "a comparison": lambda: tracking.log_comparison("k", "name", {}, []),
        "a sweep": lambda: tracking.Sweep("k", "name", artifacts.PARAMS).__enter__(),
    }
    before = files()
    for name, reader in readers.items():
        with pytest.raises(UserError) as refused:
            reader()
        message = str(refused.value)
        assert f"MLFLOW_TRACKING_URI is {uri}," in message, name
        for cure in ("unset MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI=sqlite:///PATH"):
            assert cure in message, name
        if name == "check":
            capsys.readouterr()  # what will run
    assert capsys.readouterr().out == ""
    assert files() == before
    assert list(main.iterdir()) == []


def test_check_does_not_load_mlflow() -> None:
    assert "src/tracking_uri.py" in reached("check")
    assert not any(file.startswith("src/tracking/") for file in reached("check"))
    code = "import sys, src.tracking_uri; sys.exit(bool({'mlflow', 'sqlalchemy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


@pytest.mark.parametrize("uri", ["http://host:5000", "https://user:p%2Fw@host/mlflow", "databricks", "databricks://me"])
def test_servers_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f" {uri} ")
    assert tracking_uri() == uri
    assert is_server(uri)
    assert sqlite_file(uri) is None


def test_register_says_where_a_relative_store_is(main: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints is for any folder; the address of a server is in the environment, and may hold a password."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///rel.db")
    assert f"MLFLOW_TRACKING_URI=sqlite:///{main}/rel.db" in register.usage("models:/normlens@champion")
    for server in ("http://user:Zq7x@host", "HTTP://user:Zq7x@host"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        assert "Zq7x" not in register.usage("models:/normlens@champion")
