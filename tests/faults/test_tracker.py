"""A real MLflow server that is down, hangs, breaks or forgets: no training waits for long, and no run lacks anything.

In this process `tracking.Mirror` works on the files of a finished run; at the end whole pipelines run by DVC.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from src import artifacts, tracking
from src.errors import UserError
from src.params import parse_params
from src.yaml_files import read_yaml
from tests.faults.tracking_server import Proxy, Server
from tests.pipeline.workspace import IDENTITY, Workspace, failure, stages_run
from tests.run_files import ROWS, assert_complete, committed_params, enter_run, exit_code, make_store, sync, train

LONGEST_DELAY = 10.0  # s, in all, at the default time-out of 5 s
PATIENT = "60"  # s, the time-out of tests in which nothing hangs: a busy machine is no fault


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    make_store(folder / "mlflow.db")
    server = Server(folder)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def server(started: Server) -> Iterator[Server]:
    """A server in good health; whatever a test does to it is undone."""
    yield started
    if started.process is None:
        started.start()
    started.go_on()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a finished run."""
    enter_run(tmp_path, monkeypatch)
    return tmp_path


@pytest.mark.slow
def test_broken_at_any_request_a_run_is_completed_later_and_nothing_is_doubled(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request of a training in turn is the last that the server sees, and its answer is lost."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT)
    with Proxy(server) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        broken_at = 0
        while True:
            params = committed_params(seed=broken_at)
            proxy.break_from(broken_at, "lost")
            mirror = train(params)
            if mirror.complete:
                break  # every request has been the first
            assert proxy.faulty == 1  # one time-out, had it hung
            proxy.heal()
            assert sync(params).complete
            assert_complete(server.folder, params, workspace)
            broken_at += 1
    assert broken_at > 30


@pytest.mark.slow
def test_a_model_is_read_back_as_it_was_sent(server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`commands.compare` explains images with it, from any store."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    params = committed_params(recipe="read back")
    assert train(params).complete
    reader = tracking.Reader()
    (run,) = reader.runs([], "params.recipe = 'read back'")
    place = workspace / "downloaded"
    place.mkdir()
    for name in ("model.json", "model.safetensors"):
        file = reader.download_model(run.info.run_id, name, str(place))
        assert file == place / run.info.run_id / name
        assert file.read_bytes() == (workspace / "models" / name).read_bytes()
    with pytest.raises(UserError, match=r"it has no nothing\.json \("):
        reader.download_model(run.info.run_id, "nothing.json", str(place))


@pytest.mark.slow
@pytest.mark.parametrize("table", ["datasets", "params", "tags"])
def test_a_call_that_collides_at_a_server_is_repeated(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """The database refuses rows of `table`, as if another machine had inserted them, until the first pause."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    params = committed_params(recipe=f"collides in {table}")
    data = artifacts.read_json(artifacts.METRICS / "data.json")
    artifacts.write_json(artifacts.METRICS / "data.json", data | {"digest": table * 10})  # that no test before has sent
    store = sqlite3.connect(server.folder / "mlflow.db")
    tracking.open_store()
    pauses = 0

    def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1
        store.execute("DROP TRIGGER IF EXISTS collision")

    refused = f"RAISE(ABORT, 'UNIQUE constraint failed: {table}.key')"
    store.execute(f"CREATE TRIGGER collision BEFORE INSERT ON {table} BEGIN SELECT {refused}; END")
    monkeypatch.setattr("src.tracking.store.time.sleep", pause)
    try:
        assert train(params).complete
    finally:
        store.execute("DROP TRIGGER IF EXISTS collision")
        store.close()
    assert pauses == 1
    assert sync(params).complete
    assert_complete(server.folder, params, workspace)


@pytest.mark.slow
def test_answers_that_are_none_stop_nothing(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT)
    page = b"<html>Please sign in to this network</html>"
    answers = cycle([(500, b"{}"), (200, page), (503, page), (200, b"{}"), (200, b"[]"), (200, b'{"run": 5}')])
    with Proxy(server) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        params = committed_params(recipe="answers")
        train(params)
        for broken_at in range(proxy.seen):
            proxy.answer = next(answers)
            proxy.break_from(broken_at, "answer")
            train(committed_params(recipe="answers", seed=broken_at + 1))
            assert capsys.readouterr().out.count("warning: the MLflow run at") <= 1
        proxy.heal()
        assert sync(params).complete
        assert_complete(server.folder, params, workspace)


@pytest.mark.slow
@pytest.mark.parametrize("since", ["the start", "the first epoch", "the upload"])
def test_a_server_that_hangs_costs_less_than_ten_seconds(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch, since: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "5"  # the default
    params = committed_params(recipe=since)
    waited = 0.0

    def hang(moment: str) -> None:
        nonlocal waited
        if moment == since:
            server.hang()
            waited = -time.monotonic()

    hang("the start")
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload("lr_range")
        for row in ROWS:
            mirror.epoch(row)
            hang("the first epoch")
        hang("the upload")
        mirror.upload("train")
    waited += time.monotonic()
    assert not mirror.complete
    assert waited < LONGEST_DELAY
    server.go_on()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT)
    assert sync(params).complete
    assert_complete(server.folder, params, workspace)


@pytest.mark.slow
def test_a_slow_server_costs_less_than_ten_seconds(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = committed_params(recipe="slow")
    with Proxy(server) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        proxy.delay = 1.5
        start = time.monotonic()
        assert not train(params).complete
        assert time.monotonic() - start < LONGEST_DELAY
        proxy.delay = 0.0
        assert sync(params).complete
    assert_complete(server.folder, params, workspace)


@pytest.mark.slow
@pytest.mark.parametrize("since", ["the start", "the first epoch"])
def test_a_server_that_was_killed_and_comes_back(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch, since: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT)
    params = committed_params(recipe=f"killed at {since}")
    if since == "the start":
        server.kill()
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload("lr_range")
        mirror.epoch(ROWS[0])
        if since != "the start":
            server.kill()
        for row in ROWS[1:]:
            mirror.epoch(row)
        mirror.upload("train")
    assert not mirror.complete
    server.start()
    assert sync(params).complete
    assert_complete(server.folder, params, workspace)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [["mlflow.db"], ["mlflow.db", "mlartifacts"], ["mlartifacts"]])
def test_a_store_deleted_between_stages_is_built_again(workspace: Path, lost: list[str]) -> None:
    def first() -> None:
        assert sync(committed_params()).complete

    assert exit_code(first) == 0
    for name in lost:
        (workspace / name).rename(workspace / f"{name}.old")
    assert sync(committed_params()).complete
    assert_complete(workspace, committed_params(), workspace)


@pytest.mark.slow
def test_a_store_deleted_while_a_stage_has_it_open_is_built_again(workspace: Path) -> None:
    def first() -> None:
        with tracking.Mirror(committed_params(), "k") as mirror:
            mirror.upload("lr_range")
            mirror.epoch(ROWS[0])
            (workspace / "mlflow.db").unlink()
            mirror.epoch(ROWS[1])
            mirror.upload("train")
        assert not mirror.complete

    assert exit_code(first) == 0
    assert sync(committed_params()).complete
    assert_complete(workspace, committed_params(), workspace)


@pytest.mark.parametrize("damage", ["bytes", "folder", "half"])
def test_a_damaged_store_stops_nothing(
    workspace: Path, damage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = workspace / "mlflow.db"
    match damage:
        case "bytes":
            store.write_bytes(bytes(range(256)) * 100)
        case "folder":  # as well as what may not be read: MLflow's own retries take 100 s
            store.mkdir()
        case "half":
            content = make_store(workspace / "whole.db").read_bytes()
            store.write_bytes(content[: len(content) // 2])
    start = time.monotonic()
    assert not train(committed_params()).complete
    assert time.monotonic() - start < LONGEST_DELAY
    assert capsys.readouterr().out.count("warning: the MLflow run at") == 1


def test_an_empty_store_is_replaced_by_a_whole_one(workspace: Path) -> None:
    """Not migrated where it is, which processes that do so at once do not survive."""
    store = workspace / "mlflow.db"
    store.touch()
    empty = store.stat().st_ino
    assert tracking.open_store()[1]
    assert store.stat().st_ino != empty
    assert not list(workspace.glob(".mlflow.db*"))


def assert_pipeline_complete(store: Path, workspace: Workspace) -> None:
    params = parse_params(read_yaml(workspace.root / "params.yaml"))
    model_key = json.loads((workspace.root / "models/model.json").read_text())["model_key"]
    assert_complete(store, params, workspace.root, model_key, params.train.epochs)


@pytest.mark.slow
def test_a_server_that_hangs_while_a_pipeline_trains(server: Server, copy: Workspace) -> None:
    """It is stopped at the first epoch, goes on when `train` has given up, and does late what it was asked."""
    copy.set_params({"seed": 5})
    with Proxy(server) as proxy:
        proxy.stop_once(b"train/loss")
        output = copy.ok("dvc", "repro", MLFLOW_TRACKING_URI=proxy.uri)
        assert proxy.faulty == 1
    assert stages_run(output) == ["check", "lr_range", "train", "evaluate", "gradcam", "report"], output
    assert output.count("warning: the MLflow run at") == 1, output
    assert_pipeline_complete(server.folder, copy)


@pytest.mark.slow
def test_a_server_that_comes_back_after_the_pipeline_gets_the_run_by_sync(server: Server, copy: Workspace) -> None:
    server.kill()
    copy.set_params({"seed": 6})
    output = copy.ok("dvc", "repro", MLFLOW_TRACKING_URI=server.uri)
    assert output.count("warning: the MLflow run at") == 4, output  # train, evaluate, gradcam, report
    done = copy.run("python", "-m", "commands.sync", MLFLOW_TRACKING_URI=server.uri)
    assert done.returncode == 1, failure(done)
    assert "error: the run is not complete" in done.stderr
    server.start()
    assert "is complete" in copy.ok("python", "-m", "commands.sync", MLFLOW_TRACKING_URI=server.uri)
    assert_pipeline_complete(server.folder, copy)


@pytest.mark.slow
def test_a_cache_pulled_to_another_machine_makes_the_whole_run(copy: Workspace, tmp_path: Path) -> None:
    copy.ok("dvc", "remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    copy.ok("dvc", "push")
    copy.ok("git", "add", ".dvc/config", "dvc.lock", "metrics")
    copy.ok("git", "commit", "-qm", "results", **IDENTITY)
    elsewhere = Workspace(tmp_path / "elsewhere")
    copy.ok("git", "clone", "-q", str(copy.root), str(elsewhere.root))
    elsewhere.ok("dvc", "pull")
    assert "is complete" in elsewhere.ok("python", "-m", "commands.sync")
    assert_pipeline_complete(elsewhere.root, elsewhere)


@pytest.mark.slow
def test_a_relative_store_of_a_temporary_copy_is_in_the_main_repository(copy: Workspace) -> None:
    copy.ok("dvc", "exp", "run", "--temp", "-S", "evaluate.bins=10", MLFLOW_TRACKING_URI="sqlite:///rel.db", **IDENTITY)
    assert not (copy.root / "mlflow.db").exists()
    reader = tracking.MlflowClient(f"sqlite:///{copy.root / 'rel.db'}")
    experiment = reader.get_experiment_by_name(tracking.EXPERIMENT)
    assert experiment is not None
    (run,) = reader.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["evaluate.bins"] == "10"
    assert run.data.tags["stages"].endswith("report")
    assert copy.artifacts(run)["reports/run.html"].stat().st_size > 50_000


@pytest.mark.slow
def test_an_address_that_can_never_work_ends_in_check_and_touches_nothing(copy: Workspace) -> None:
    before = copy.digests()
    copy.set_params({"seed": 7})
    done = copy.run("dvc", "repro", MLFLOW_TRACKING_URI="file:./mlruns")
    output = done.stdout + done.stderr
    assert done.returncode != 0, failure(done)
    assert stages_run(output) == ["check"], output
    assert output.count("unset MLFLOW_TRACKING_URI") == 1, output
    assert "commands.sync" not in output
    assert {**copy.digests(), "data/checked": before["data/checked"]} == before
    assert not (copy.root / "mlruns").exists()


@pytest.mark.slow
def test_a_password_in_an_address_gets_into_no_output_and_no_file(copy: Workspace) -> None:
    """Of the server, which is down, and of the data, which params.yaml alone names."""
    secret = ":".join(("Zq7x", "s%40cret"))  # in no file, this one included
    dead = {"MLFLOW_TRACKING_URI": f"http://user:{secret}@127.0.0.1:9"}
    copy.set_params({"evaluate.bins": 10})
    said = [copy.ok("dvc", "repro", **dead)]
    assert stages_run(said[0]) == ["check", "evaluate", "report"]
    assert said[0].count("warning: the MLflow run at http://***@127.0.0.1:9 could not be updated") == 2, said[0]
    to = ["--all", "--to", f"http://other:{secret}@127.0.0.1:9"]
    for command in (["sync"], ["register"], ["compare"], ["ui", "--port", "0"], ["sync", *to]):
        done = copy.run("python", "-m", f"commands.{command[0]}", *command[1:], **dead)
        assert done.returncode == 1, failure(done)
        assert "http://***@127.0.0.1:9" in done.stderr, failure(done)
        said.append(done.stdout + done.stderr)
    copy.set_params({"data.url": f"https://user:{secret}@host/pets.zip"})
    said.append(copy.ok("python", "-m", "stages.report"))  # which completes the run, in the local store
    done = copy.run("python", "-m", "recipes", "quick", "-S", f"data.url=ftp://user:{secret}@host/pets.zip", **IDENTITY)
    assert "data.url=ftp://***@host/pets.zip" in done.stdout, failure(done)
    assert "error: params.yaml: data.url" in done.stderr, failure(done)
    said.append(done.stdout + done.stderr)
    for text in said:
        assert secret not in text
        assert "s@cret" not in text
    having = {
        file.relative_to(copy.root).as_posix()
        for file in copy.root.rglob("*")
        if file.is_file() and secret.encode() in file.read_bytes()
    }
    assert {name for name in having if not name.startswith(".")} == {"params.yaml"}
    (run,) = [run for run in copy.runs() if run.data.params["data.url"]]
    assert run.data.params["data.url"] == "https://***@host/pets.zip"
