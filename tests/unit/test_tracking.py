"""The MLflow mirror: complete, nothing twice, and never in the way."""

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine, create_engine, event

from src import artifacts, record, tracking
from src.locks import locked
from src.params import Params, Reference, parse_params
from src.tracking import mirror as mirror_module
from src.tracking import store
from src.tracking.store import unsynced
from src.wording import reference_label
from tests.conftest import REPOSITORY
from tests.run_files import ROWS, committed_params, enter_run, make_store
from tests.unit.test_markdown import Shown


@pytest.fixture
def params() -> Params:
    return committed_params()


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "mlflow.db")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A folder with what the stages of a finished run leave, and an empty MLflow store."""
    enter_run(tmp_path, monkeypatch)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def runs() -> list[tracking.Run]:
    client, experiment = tracking.open_store()
    return list(client.search_runs([experiment]))


def points(run: tracking.Run, name: str) -> list[tuple[int, float]]:
    history = tracking.open_store()[0].get_metric_history(run.info.run_id, name)
    return [(m.step, m.value) for m in history]


def test_a_run_carries_everything(workspace: Path, params: Params) -> None:
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload("lr_range")
        for row in ROWS:
            mirror.epoch(row)
        mirror.upload("train")
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload(*record.STAGES)
    assert mirror.complete

    (run,) = runs()
    client = tracking.open_store()[0]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tiny-test"
    assert run.data.params == record.flat_params(params)
    assert run.data.params["lr"] == "auto"
    assert json.loads(run.data.params["augment"])[0]["name"] == "Pad"
    assert points(run, "train/loss") == [(1, 2.0), (2, 1.0), (3, 2.0 / 3)]
    assert points(run, "lr_range/lr") == [(0, 0.1), (1, 0.2)]
    assert run.data.metrics["lr_range/valley"] == 0.1
    assert run.data.metrics["test/accuracy"] == 0.5
    assert "system/gpu_memory_gib" not in run.data.metrics
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 32
    assert "**Test accuracy 50.00 %** (95 % interval 20.00 % to 80.00 %)" in run.data.tags["mlflow.note.content"]
    assert "torch " in run.data.tags["versions"]
    assert run.data.tags["hardware"] == "test"
    assert run.data.tags["recipe"] == params.recipe
    assert "reference" not in run.data.tags  # there is no result to compare with
    assert "test/reference_accuracy" not in run.data.metrics
    for stage in record.STAGES:
        assert f"figures/{stage}/figure.png" in {
            a.path for a in client.list_artifacts(run.info.run_id, f"figures/{stage}")
        }
    assert "reports/run.html" in {a.path for a in client.list_artifacts(run.info.run_id, "reports")}
    assert len(run.outputs.model_outputs) == 1
    assert (workspace / "mlartifacts").is_dir()


def test_a_recipe_with_a_recorded_result_names_both(workspace: Path, params: Params) -> None:
    content = params.model_dump() | {
        "recipe": "mine",
        "norm": "layer",
        "reference": {"name": "001_x.txt", "accuracy": 0.55, "note": "Original images."},
    }
    content["data"] |= {"source": "folder", "path": "own/pets.zip"}
    data = artifacts.read_json(artifacts.METRICS / "data.json") | {"source": "folder"}
    artifacts.write_json(artifacts.METRICS / "data.json", data)
    test = artifacts.read_json(artifacts.METRICS / "evaluate.json")
    flipped = {"flip_accuracy": 0.6, "flip_accuracy_low": 0.3, "flip_accuracy_high": 0.9}
    artifacts.write_json(artifacts.METRICS / "evaluate.json", test | flipped)
    artifacts.write_text(artifacts.PARAMS, yaml.safe_dump(content))
    # PyYAML reads 5e-4 as a text; `recipe` and `reference` shape nothing
    recipe = "recipe: other\nnorm: batch\nreference:\n  accuracy: 0.1\ntrain:\n  weight_decay: 5e-4\n  epochs: 7\n"
    artifacts.write_text(artifacts.RECIPES / "mine.yaml", recipe)
    with tracking.Mirror(parse_params(content), "k") as mirror:
        mirror.upload(*record.STAGES)
    (run,) = runs()
    assert (run.data.tags["recipe"], run.data.tags["reference"]) == ("mine", "001_x.txt")
    assert run.data.metrics["test/reference_accuracy"] == 0.55
    assert run.data.metrics["test/accuracy"] == 0.5
    assert run.data.metrics["test/flip_accuracy"] == 0.6
    text = run.data.tags["mlflow.note.content"]
    assert (
        "**Recorded by 001_x.txt: 55.00 %**. This run: 50.00 %, −5.00 points. About this reference: Original images. "
        "This run has 9 training images of image folder pets.zip and 20 epochs."
    ) in text
    assert "- recipe mine, changed: norm batch → layer, train.epochs 7 → 20\n" in text
    assert "(mean over each image and its mirror image): 60.00 % (30.00 % to 90.00 %)" in text


def test_markup_in_names_is_shown_in_the_description_and_not_obeyed(workspace: Path, params: Params) -> None:
    evil = "<b>[x](http://evil.invalid)_*|`</b>"
    content = params.model_dump() | {"recipe": evil, "reference": {"name": evil, "accuracy": 0.5, "note": evil}}
    content["data"] |= {"source": "folder", "path": f"own/{evil.replace('/', '')}"}
    data = artifacts.read_json(artifacts.METRICS / "data.json") | {"source": "folder"}
    artifacts.write_json(artifacts.METRICS / "data.json", data)
    description = record.description(parse_params(content), record.STAGES)
    page = Shown(description)
    assert {"b", "a", "em"}.isdisjoint(page.tags)
    assert page.text.count(evil) == 3
    assert page.text.count(evil.replace("/", "")) == 2


def test_what_differs_from_a_recipe(workspace: Path, params: Params) -> None:
    def changes(text: str) -> dict[str, tuple[Any, Any]] | None:
        artifacts.write_text(artifacts.RECIPES / "mine.yaml", text)
        return record.recipe_changes(params.model_copy(update={"recipe": "mine"}))

    assert changes("{}\n") == {}
    assert changes("model:\n  strides: [1, 2, 2, 2]\nnorm: batch\n") == {}
    assert changes("model:\n  strides: [1, 1, 2, 2]\n") == {"model.strides": ([1, 1, 2, 2], [1, 2, 2, 2])}
    assert changes("unknown: 1\n") == {}
    assert changes("norm: [\n") is None  # not YAML
    for name in ("", "nobody", "../params", "x" * 5000):
        assert record.recipe_changes(params.model_copy(update={"recipe": name})) is None


def test_a_result_to_compare_with_is_named() -> None:
    named = [reference_label(Reference(name=n, accuracy=a, note="")) for n, a in (("", 0), ("", 0.9), ("x", 0))]
    assert named == ["", "target", "recorded by x"]


def test_the_logged_model_takes_raw_images(workspace: Path, params: Params) -> None:
    shutil.rmtree("src")
    (workspace / "src").symlink_to(REPOSITORY / "src")
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload("train")
    (run,) = runs()
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    np.save("images.npy", images)
    # In a process and a folder of its own, as a server would: nothing of this checkout is importable there.
    code = (
        "import sys, numpy as np, mlflow; mlflow.set_tracking_uri(sys.argv[1]);"
        "m = mlflow.pyfunc.load_model(sys.argv[2]); t = m.predict(np.load('images.npy'));"
        "t.to_json('out.json', orient='split', double_precision=15)"
    )
    model = f"models:/{run.outputs.model_outputs[0].model_id}"
    elsewhere = workspace / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "images.npy").write_bytes((workspace / "images.npy").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", code, tracking.tracking_uri(), model],
        cwd=elsewhere, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = json.loads((elsewhere / "out.json").read_text())
    assert table["columns"] == ["class", "probability", "p(a)", "p(b)", "p(c)"]
    from src.model.inputs import to_input
    from src.model.saved import load_model

    network, about = load_model()
    with torch.inference_mode():
        expected = network(to_input(images, about.mean, about.std, torch.device("cpu"))).softmax(1).numpy()
    np.testing.assert_allclose([row[2:] for row in table["data"]], expected, atol=1e-6)
    assert [row[0] for row in table["data"]] == ["abc"[i] for i in expected.argmax(1)]


def test_a_resumed_run_has_no_point_twice(workspace: Path, params: Params) -> None:
    for rows in (ROWS[:2], ROWS):  # killed after epoch 2, resumed, its epochs sent again
        with tracking.Mirror(params, "k") as mirror:
            for row in rows:
                mirror.epoch(row)
    (run,) = runs()
    assert points(run, "val/loss") == [(1, 2.1), (2, 2.1 / 2), (3, 2.1 / 3)]


def test_a_training_from_its_first_epoch_gets_a_run_of_its_own(workspace: Path, params: Params) -> None:
    for times in (1, 1, 2):
        again = times == 2
        with tracking.Mirror(params, "k", again=again) as mirror:
            for row in ROWS:
                mirror.epoch(row | {"seconds": 3.0 * times})
            mirror.upload("train")
    newest, first = runs()
    assert mirror.run_id == newest.info.run_id
    assert first.data.metrics["train/seconds"] == 3.0
    assert [step for step, _ in points(newest, "train/seconds")] == [1, 2, 3]
    assert len(newest.outputs.model_outputs) == 1


def test_a_training_starts_in_a_known_run_though_dvc_deleted_its_outputs(workspace: Path, params: Params) -> None:
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload(*record.STAGES)
    artifacts.MODEL.unlink()
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload("lr_range")
    assert mirror.complete
    assert len(runs()) == 1


def test_what_the_first_process_did_not_send_is_sent_by_the_next(
    workspace: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tracking.Mirror, "_log_inputs", lambda *_: None)
        with tracking.Mirror(params, "k"):
            pass
    assert runs()[0].data.params == {}
    with tracking.Mirror(params, "k"):
        pass
    (run,) = runs()
    assert run.data.params == record.flat_params(params)
    assert len(run.inputs.dataset_inputs) == 1


def test_a_success_takes_back_the_failure(workspace: Path, params: Params) -> None:
    with pytest.raises(ValueError, match="loss"), tracking.Mirror(params, "k"):
        raise ValueError("loss is nan")
    with tracking.Mirror(params, "k"):
        pass
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert "failure" not in run.data.tags


def test_a_later_stage_builds_a_missing_run_from_files(workspace: Path, params: Params) -> None:
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload("gradcam")
    (run,) = runs()
    assert run.data.tags["stages"] == "prepare,lr_range,train,evaluate,gradcam"
    assert len(points(run, "train/loss")) == 3
    assert "test/accuracy" in run.data.metrics


def test_a_password_in_params_yaml_gets_into_no_run(workspace: Path, params: Params) -> None:
    secret = "Zq7x-secret"
    content = params.model_dump()
    content["data"] |= {"source": "folder", "url": f"https://user:{secret}@host/pets.zip"}
    content |= {"recipe": "mine", "reference": {"name": "x", "accuracy": 0.5, "note": f"See http://u:{secret}@host/"}}
    text = yaml.safe_dump(content) + "# Zürich\n"
    artifacts.write_text(artifacts.PARAMS, text)
    artifacts.write_text(artifacts.RECIPES / "mine.yaml", "data:\n  url: https://other:Zq7x-secret@host/dogs.zip\n")
    data = artifacts.read_json(artifacts.METRICS / "data.json") | {"source": "folder"}
    artifacts.write_json(artifacts.METRICS / "data.json", data)
    given = parse_params(content)

    def stage() -> None:
        with tracking.Mirror(given, "k") as mirror:
            mirror.upload(*record.STAGES)
            raise ValueError(f"no answer from {given.data.url}")

    with pytest.raises(ValueError, match="no answer"):
        stage()
    having = [file.name for file in workspace.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    assert sorted(having) == ["mine.yaml", "params.yaml"]
    (run,) = runs()
    assert run.data.params["data.url"] == "https://***@host/pets.zip"
    assert run.data.tags["failure"] == "ValueError: no answer from https://***@host/pets.zip"
    assert "pets.zip" in run.data.tags["mlflow.note.content"]
    (logged,) = workspace.glob("mlartifacts/**/params.yaml")
    assert logged.read_text() == text.replace(f"user:{secret}", "***").replace(f"u:{secret}", "***")


def test_other_parameters_are_another_run(workspace: Path, params: Params) -> None:
    other = params.model_copy(update={"seed": 7})
    keys = {record.run_key(p, k) for p, k in ((params, "k"), (other, "k"), (params, "l"))}
    assert len(keys) == 3
    assert record.run_key(params, "k") == record.run_key(parse_params(params.model_dump()), "k")


@pytest.mark.parametrize(("error", "status"), [(ValueError("loss is nan"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_run_that_did_not_end_well_says_so(
    workspace: Path, params: Params, error: BaseException, status: str
) -> None:
    def stage() -> None:
        with tracking.Mirror(params, "k"):
            raise error

    with pytest.raises(type(error)):
        stage()
    (run,) = runs()
    assert run.info.status == status
    assert ("loss is nan" in run.data.tags.get("failure", "")) == (status == "FAILED")


def test_runs_of_dead_processes_are_closed(workspace: Path, params: Params) -> None:
    client, experiment = tracking.open_store()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host, me = socket.gethostname(), psutil.Process()
    alive = json.loads(store.this_process())
    processes: dict[str, list[Any]] = {
        "dead": [host, gone.pid, 1.0],
        "reused id": [host, me.pid, 1.0],
        "alive": alive,
        "other machine": ["elsewhere", gone.pid, 1.0],
    }
    ids = {n: client.create_run(experiment, tags={"process": json.dumps(p)}).info.run_id for n, p in processes.items()}
    tracking.close_dead_runs(client, experiment)
    found = {name: client.get_run(run_id).info.status for name, run_id in ids.items()}
    assert found == {"dead": "KILLED", "reused id": "KILLED", "alive": "RUNNING", "other machine": "RUNNING"}


def test_a_run_that_ends_while_dead_ones_are_looked_for_keeps_its_end(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, experiment = tracking.open_store()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = json.dumps([socket.gethostname(), gone.pid, 1.0])
    run_id = client.create_run(experiment, tags={"process": process}).info.run_id
    search = client.search_runs

    def search_then_end(*args: Any) -> Any:
        found = search(*args)
        client.set_terminated(run_id, "FINISHED")
        return found

    monkeypatch.setattr(client, "search_runs", search_then_end)
    tracking.close_dead_runs(client, experiment)
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_server_that_is_down_stops_nothing(
    workspace: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:  # a port that nobody listens on
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
        with tracking.Mirror(params, "k") as mirror:
            mirror.upload("train")
            mirror.epoch(ROWS[0])
    assert not mirror.complete
    assert capsys.readouterr().out.count("warning: the MLflow run at http://127.0.0.1") == 1


def test_slow_calls_are_waited_for_within_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Client:
        uri = "http://slow"

        def call(self, seconds: float) -> float:
            nonlocal now
            now += seconds
            return seconds

        def log_artifact(self, seconds: float) -> float:
            return self.call(seconds)

    monkeypatch.setattr(store.time, "monotonic", lambda: now)
    client: Any = store._Client(Client(), store._Patience(5.0))  # type: ignore[arg-type]
    for seconds in (*[1.0] * 100, 2.0, 2.0):  # a second is not slow
        assert client.call(seconds) == seconds
    assert client.log_artifact(600.0) == 600.0  # a large file
    assert client.call(1.5) == 1.5
    with pytest.raises(TimeoutError, match="too slow"):
        client.call(0.0)
    assert client.uri == "http://slow"


@pytest.fixture
def struck() -> Iterator[list[str]]:
    """SIGTERM comes with the first statement that writes metrics, which is then in this list."""
    at: list[str] = []

    def strike(*arguments: Any) -> None:
        statement = arguments[2]
        if "INSERT INTO metrics" in statement and not at:
            at.append(statement)
            signal.raise_signal(signal.SIGTERM)

    event.listen(Engine, "before_cursor_execute", strike)
    yield at
    event.remove(Engine, "before_cursor_execute", strike)


def test_a_stop_does_not_cut_a_call_to_the_database(
    workspace: Path, params: Params, stops: None, struck: list[str]
) -> None:
    def train() -> None:
        with tracking.Mirror(params, "k") as mirror:
            mirror.epoch(ROWS[0])
            pytest.fail("the stop is heard at the end of the call, not later")

    with pytest.raises(KeyboardInterrupt):
        train()
    assert struck
    (run,) = runs()
    assert run.info.status == "KILLED"
    assert points(run, "train/loss") == [(1, ROWS[0]["train_loss"])]


def test_a_new_run_is_not_asked_for_what_it_cannot_have(
    workspace: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tracking.MlflowClient, "get_metric_history")  # a call for each metric, before the first epoch
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload(*record.STAGES)
    assert mirror.complete


def test_only_a_store_in_the_making_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    def synchronous(name: str) -> int:
        engine = create_engine(f"sqlite:///{tmp_path / name}")
        with engine.connect() as connection:
            mode = int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
        engine.dispose()  # from 3.13 on Python warns of a connection that nobody closed
        return mode

    full = synchronous("before.db")
    with unsynced():
        assert synchronous("new.db") == 0
    assert synchronous("new.db") == full > 0


@pytest.fixture
def faster(workspace: Path) -> Iterator[Callable[[str], None]]:
    """`faster(table)`: another process inserts the next row of `table` right before this one does, once.

    It is what this process would insert, as two processes with the same data do. In SQLite that can only be the first
    row of a transaction.
    """
    tables: list[str] = []

    def insert(_: Any, __: Any, statement: str, parameters: Any, ___: Any, is_many: bool) -> None:
        if tables and statement.startswith(f"INSERT INTO {tables[0]} "):
            tables.clear()
            with sqlite3.connect(workspace / "mlflow.db") as other:
                (other.executemany if is_many else other.execute)(statement, parameters)
            other.close()

    event.listen(Engine, "before_cursor_execute", insert)
    yield tables.append
    event.remove(Engine, "before_cursor_execute", insert)


def collide(client: MlflowClient, run_id: str, table: str) -> None:
    """A call that inserts into `table` if the row is missing."""
    match table:
        case "params":
            client.log_batch(run_id, params=[Param("a", "1"), Param("b", "2")])
        case "metrics":
            client.log_batch(run_id, metrics=[Metric("m", 1.0, 5, 0)])
        case "inputs":
            client.log_inputs(run_id, [DatasetInput(Dataset("d", "1", "local", "{}"))])
        case "tags":
            client.set_tag(run_id, "new", "1")
        case "registered_model_aliases":
            client.set_registered_model_alias("m", "champion", "1")


@pytest.mark.parametrize("table", ["params", "metrics", "inputs", "tags", "registered_model_aliases"])
def test_a_call_that_collides_with_another_process_is_repeated(
    workspace: Path, faster: Callable[[str], None], table: str
) -> None:
    client, experiment = tracking.open_store()
    run_id = client.create_run(experiment).info.run_id
    client.create_registered_model("m")
    client.create_model_version("m", "file:///nowhere", run_id)
    collide(client, client.create_run(experiment).info.run_id, "inputs")  # of the data set, which others have used
    faster(table)
    collide(client, run_id, table)
    run = client.get_run(run_id)
    match table:
        case "params":
            assert run.data.params == {"a": "1", "b": "2"}
        case "metrics":
            assert points(run, "m") == [(0, 1.0)]
        case "inputs":
            assert len(run.inputs.dataset_inputs) == 1
        case "tags":
            assert run.data.tags["new"] == "1"
        case "registered_model_aliases":
            assert client.get_model_version_by_alias("m", "champion").version == 1


@pytest.mark.parametrize("table", ["experiments", "datasets", "params", "metrics"])
def test_a_run_is_complete_though_another_process_is_faster(
    workspace: Path, params: Params, faster: Callable[[str], None], table: str
) -> None:
    """A run has one data set and each point once."""
    faster(table)
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload("lr_range")
        for row in ROWS:
            mirror.epoch(row)
    assert mirror.complete, mirror.failure
    (run,) = runs()
    assert run.data.params == record.flat_params(params)
    assert len(run.inputs.dataset_inputs) == 1
    assert [step for step, _ in points(run, "train/loss")] == [1, 2, 3]


def test_what_is_no_collision_or_never_ends_is_raised(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.time, "sleep", lambda _: None)
    calls = 0

    class Client:
        def call(self, message: str) -> None:
            nonlocal calls
            calls += 1
            raise MlflowException(message)

    client: Any = store._Client(Client(), store._whole)  # type: ignore[arg-type]
    for message, least, most in (
        ("No such run", 1, 1),
        ("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name", 2, 20),
        ('(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "datasets_pk"', 2, 20),
        ("(pymysql.err.IntegrityError) (1062, \"Duplicate entry '1-a-b' for key 'PRIMARY'\")", 2, 20),
        ("Violation of PRIMARY KEY constraint 'p'. Cannot insert duplicate key in object 'dbo.datasets'", 2, 20),
        ("(psycopg2.errors.DeadlockDetected) deadlock detected", 2, 20),
    ):
        calls = 0
        with pytest.raises(MlflowException):
            client.call(message)
        assert least <= calls <= most, message


def test_what_another_process_sends_meanwhile_is_not_sent_again(workspace: Path, params: Params) -> None:
    """As two `commands.sync` at once: both open the run, then both send everything."""
    with tracking.Mirror(params, "k") as first, tracking.Mirror(params, "k") as second:
        for mirror in (first, second):
            mirror.upload(*record.STAGES)
    assert first.complete
    assert second.complete
    (run,) = runs()
    for name in run.data.metrics:
        steps = [step for step, _ in points(run, name)]
        assert len(steps) == len(set(steps)), name
    assert len(run.outputs.model_outputs) == 1


def test_a_process_waits_its_turn_and_a_stage_not_for_long(
    workspace: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirror_module, "TURN", 0.3)
    turn = workspace / ".locks" / f"run-{record.run_key(params, 'k')}.lock"
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(turn):
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with tracking.Mirror(params, "k") as stage:
        pass
    assert not stage.complete
    assert "waiting for process" in capsys.readouterr().out
    threading.Timer(0.5, done.set).start()
    start = time.monotonic()
    with tracking.Mirror(params, "k", patience=float("inf")) as command:
        pass
    holder.join()
    assert command.complete
    assert time.monotonic() - start > 0.4
    assert len(runs()) == 1
