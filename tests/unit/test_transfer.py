"""Runs copied to another store: whole, nothing twice, going on where it was interrupted."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric

from commands import sync as sync_command
from src import artifacts, tracking
from src.errors import UserError
from src.tracking import COMPARISONS, EXPERIMENT, MlflowClient, Run
from src.tracking.transfer import Copied, Transfer, copy_runs
from tests.run_files import assert_complete, committed_params, enter_run, make_store, sync


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "mlflow.db")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A folder with the files of a finished run, and two empty stores: mlflow.db and there/mlflow.db."""
    enter_run(tmp_path, monkeypatch)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "there").mkdir()
    shutil.copy(empty_store, tmp_path / "there/mlflow.db")
    return tmp_path


@pytest.fixture
def target(workspace: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{workspace / 'there/mlflow.db'}")


def copy_all(target: MlflowClient) -> Copied:
    return Transfer(tracking.open_store()[0], target).all(lambda line: None)


def runs(client: MlflowClient, experiment: str = EXPERIMENT) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def content(client: MlflowClient, run: Run) -> dict[str, Any]:
    """All that a run is, but for its ids and the marks of a copy."""
    points = {
        name: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }
    place = Path(run.info.artifact_uri.removeprefix("file://"))
    files = {f.relative_to(place).as_posix(): f.read_bytes() for f in place.rglob("*") if f.is_file()}
    assert run.inputs is not None
    return {
        "about": [run.info.run_name, run.info.status, run.info.start_time, run.info.end_time, run.info.user_id],
        "params": run.data.params,
        "tags": {k: v for k, v in run.data.tags.items() if k not in ("copied_from", "copying", "copied")},
        "points": points,
        "data": [(used.dataset.to_dictionary(), [tag.key for tag in used.tags]) for used in run.inputs.dataset_inputs],
        "files": files,
    }


def test_a_copy_is_the_run_and_a_second_call_sends_nothing(workspace: Path, target: MlflowClient) -> None:
    assert sync(committed_params()).complete
    client = tracking.open_store()[0]
    (original,) = runs(client)
    assert copy_all(target) == Copied(copied=1)
    (copy,) = runs(target)
    first = content(target, copy)
    assert first == content(client, original)
    assert len(first["files"]) > 15
    assert copy_all(target) == Copied(there=1)
    (again,) = runs(target)
    assert (again.info.run_id, content(target, again)) == (copy.info.run_id, first)

    model = target.get_logged_model(copy.outputs.model_outputs[0].model_id)
    text = (Path(model.artifact_location.removeprefix("file://")) / "MLmodel").read_text(encoding="utf-8")
    assert f"model_id: {model.model_id}" in text  # the model knows where it is
    assert f"run_id: {copy.info.run_id}" in text
    assert original.info.run_id not in text
    (workspace / "mlartifacts").rename(workspace / "there/mlartifacts")
    assert_complete(workspace / "there", committed_params(), workspace)


def test_links_lead_to_copies_also_where_those_come_later(workspace: Path, target: MlflowClient) -> None:
    client, experiment = tracking.open_store()
    child = client.create_run(experiment, start_time=1, run_name="child").info.run_id
    parent = client.create_run(experiment, start_time=2, run_name="parent").info.run_id
    client.set_tag(child, "mlflow.parentRunId", parent)
    for run_id in (child, parent):
        client.set_terminated(run_id, "FAILED", end_time=5)
    lost = "0" * 32
    tracking.log_comparison("k", "by norm", {"runs": f"{child},{lost}", "by": "norm"}, [artifacts.REPORT])
    assert copy_all(target) == Copied(copied=3)
    copies = {run.info.run_name: run for run in runs(target)}
    assert copies["child"].data.tags["mlflow.parentRunId"] == copies["parent"].info.run_id
    assert [copies[name].info.status for name in ("child", "parent")] == ["FAILED", "FAILED"]
    (comparison,) = runs(target, COMPARISONS)
    assert comparison.data.tags["runs"] == f"{copies['child'].info.run_id},{lost}"
    assert copy_all(target) == Copied(there=3)


class Failing:
    """A client that fails before, or after, its call number `at` of those that write."""

    WRITES = ("create_", "log_", "set_", "delete_", "finalize_")

    def __init__(self, client: MlflowClient, at: int, answer_lost: bool) -> None:
        self.client, self.left, self.answer_lost = client, at, answer_lost

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.client, name)
        return self.counted(value) if name.startswith(self.WRITES) else value

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0 and not self.answer_lost:
                raise ConnectionError("gone")
            result = call(*args, **named)
            if self.left < 0:
                raise ConnectionError("gone")
            return result

        return counting


@pytest.mark.slow
@pytest.mark.parametrize("answer_lost", [False, True])
def test_interrupted_at_any_call_it_goes_on_and_nothing_is_doubled(
    workspace: Path, target: MlflowClient, answer_lost: bool
) -> None:
    assert sync(committed_params()).complete
    tracking.log_comparison("k", "by norm", {"by": "norm"}, [artifacts.REPORT])
    client = tracking.open_store()[0]
    at = 0
    while True:
        try:
            Transfer(client, Failing(target, at, answer_lost)).all(lambda line: None)  # type: ignore[arg-type]
            break
        except ConnectionError:
            at += 4  # each call makes some progress: in the end all that fails has failed
    for name in (EXPERIMENT, COMPARISONS):
        (copy,), (original,) = runs(target, name), runs(client, name)
        assert content(target, copy) == content(client, original)
    (run,) = runs(target)
    assert len(run.outputs.model_outputs) == 1
    assert len(target.search_logged_models([run.info.experiment_id])) == 1
    assert copy_all(target) == Copied(there=2)
    assert at > 8


def test_a_run_that_changed_since_is_completed(workspace: Path, target: MlflowClient) -> None:
    client, experiment = tracking.open_store()
    run_id = client.create_run(experiment).info.run_id
    client.log_batch(run_id, metrics=[Metric("train/loss", float("nan"), 7, 1)])
    client.set_tag(run_id, "failure", "gone")
    assert copy_all(target) == Copied(open=[f"normlens/{client.get_run(run_id).info.run_name} ({run_id[:8]})"])
    client.set_terminated(run_id, "KILLED")
    client.log_text(run_id, "1", "file.txt")
    assert copy_all(target) == Copied(copied=1)
    client.log_batch(run_id, metrics=[Metric("train/loss", 1.0, 8, 2)])
    client.log_text(run_id, "2", "file.txt")  # of the same size
    client.delete_tag(run_id, "failure")
    assert copy_all(target) == Copied(completed=1)
    (copy,) = runs(target)
    points = target.get_metric_history(copy.info.run_id, "train/loss")
    assert [(p.step, p.timestamp, str(p.value)) for p in points] == [(1, 7, "nan"), (2, 8, "1.0")]
    assert "failure" not in copy.data.tags
    assert content(target, copy)["files"] == {"file.txt": b"2"}


def test_a_run_that_the_same_files_made_there_is_no_second_one(
    workspace: Path, target: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sync(committed_params()).complete
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'there/mlflow.db'}")
    assert sync(committed_params()).complete
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert copy_all(target) == Copied(there=1)
    assert len(runs(target)) == 1


def test_the_command_says_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = Copied(copied=1, completed=2, there=3, open=["normlens/layer-seed0 (0123abcd)"])
    monkeypatch.setattr("src.tracking.transfer.copy_runs", lambda to, say: (say(f"copying x to {to}"), done)[1])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # which the command would set for good
    monkeypatch.setattr("sys.argv", ["sync", "--all", "--to", "http://127.0.0.1:5000"])
    sync_command.main()
    said = capsys.readouterr().out
    assert said.startswith("copying x to http://127.0.0.1:5000\n")
    assert "left out, because it is still active: normlens/layer-seed0 (0123abcd)\n" in said
    assert "1 run copied, 2 completed, 3 already there, 1 still active" in said


@pytest.mark.parametrize("arguments", [["--all"], ["--to", "http://127.0.0.1:5000"]])
def test_the_command_wants_both_options(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sync", *arguments])
    with pytest.raises(SystemExit):
        sync_command.main()
    assert "--all and --to URI go together" in capsys.readouterr().err


def test_the_same_store_and_what_is_no_server_are_refused(workspace: Path) -> None:
    client, experiment = tracking.open_store()
    client.set_terminated(client.create_run(experiment).info.run_id)
    with pytest.raises(UserError, match="are the same store"):
        copy_all(client)
    with pytest.raises(UserError, match=r"--to sqlite:///other\.db is not the address"):
        copy_runs("sqlite:///other.db", lambda line: None)
    with pytest.raises(
        UserError, match=r"not all runs of sqlite.* reached http://127\.0\.0\.1:9: .*\n.*run the same command again"
    ):
        copy_runs("http://127.0.0.1:9", lambda line: None)
