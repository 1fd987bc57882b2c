"""The best run by its validation images becomes a version of a registered model, once."""

import re
import shutil
from pathlib import Path

import pytest

from commands import register as command
from src import artifacts, record, registry, tracking
from src.errors import UserError
from src.params import Params
from src.registry import rank
from tests.run_files import CARD, committed_params, enter_run, make_store


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "mlflow.db")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A folder with what the stages of a finished run leave, and an empty MLflow store; of a run the few files go there
    that are read again.
    """
    enter_run(tmp_path, monkeypatch)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    files = {"train": [artifacts.METRICS / "train.json"], "report": [artifacts.CARD]}
    monkeypatch.setattr(record, "files", lambda stage: files.get(stage, []))
    return tmp_path


def a_run(seed: int, val_accuracy: float | None, *stages: str, digest: str = "d" * 64, key: str = "") -> str:
    """Put a run with this validation accuracy of the kept weights into the store; its id."""
    train = artifacts.read_json(artifacts.METRICS / "train.json")
    train = {name: value for name, value in train.items() if not name.startswith("val_")}
    if val_accuracy is not None:
        train |= {"val_accuracy": val_accuracy, "val_loss": 1 - val_accuracy / 2}
    artifacts.write_json(artifacts.METRICS / "train.json", train)
    data = artifacts.read_json(artifacts.METRICS / "data.json")
    artifacts.write_json(artifacts.METRICS / "data.json", data | {"digest": digest})
    params: Params = committed_params(seed=seed)
    with tracking.Mirror(params, key or f"k{seed}") as mirror:
        mirror.upload(*(stages or record.STAGES))
    assert mirror.complete, mirror.failure
    return mirror.run_id


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["register", *arguments])
    command.main()


def champion(name: str = "normlens", alias: str = "champion") -> "tuple[str, int]":
    """The run and the version that has the alias."""
    version = tracking.open_store()[0].get_model_version_by_alias(name, alias)
    return str(version.run_id), int(version.version)


def test_the_best_by_the_weights_that_were_kept_and_never_by_the_test_images(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = a_run(1, 0.9)
    artifacts.write_json(
        artifacts.METRICS / "evaluate.json",
        artifacts.read_json(artifacts.METRICS / "evaluate.json") | {"accuracy": 0.99},
    )
    other = a_run(2, 0.8)  # the better one on the test images, and as good in the last epoch
    call(monkeypatch)
    assert champion() == (best, 1)
    output = capsys.readouterr().out
    assert re.search(rf"^best +tiny-test \({best[:8]}\), val/accuracy 90\.00 %$", output, re.MULTILINE)
    assert re.search(rf"^runner-up +tiny-test \({other[:8]}\), val/accuracy 80\.00 %$", output, re.MULTILINE)
    assert "version 1, alias champion\n" in output
    assert "models:/normlens@champion" in output
    assert f"MLFLOW_TRACKING_URI=sqlite:///{workspace}/mlflow.db" in output
    assert "mlflow models serve -m models:/normlens@champion --env-manager local --host 127.0.0.1" in output


def test_a_run_is_registered_once_and_the_alias_moves(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = a_run(1, 0.8)
    call(monkeypatch)
    call(monkeypatch)
    assert champion() == (first, 1)
    second = a_run(2, 0.8)  # as good is not better
    call(monkeypatch)
    assert champion() == (first, 1)
    third = a_run(3, 0.9)
    capsys.readouterr()
    call(monkeypatch)
    assert champion() == (third, 2)
    assert "version 2, alias champion (was version 1)" in capsys.readouterr().out
    call(monkeypatch, first)
    assert champion() == (first, 1)
    call(monkeypatch, second, "--alias", "challenger", "--name", "other")
    assert champion("other", "challenger") == (second, 1)
    client = tracking.open_store()[0]
    versions = client.search_model_versions("name = 'normlens'")
    assert {version.run_id: version.version for version in versions} == {first: 1, third: 2}


def test_the_card_travels_with_the_model(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = a_run(1, 0.8)
    call(monkeypatch)
    client = tracking.open_store()[0]
    version = client.get_model_version_by_alias("normlens", "champion")
    assert version.description.startswith("# A model\n\n## Limits\n\n- some\n")
    assert "![" not in version.description
    place = Path(client.get_model_version_download_uri("normlens", "1").removeprefix("file://"))
    assert (place / "model_card.md").read_text() == CARD.replace("../figures", "figures")
    assert (place / "figures/report/figure.png").read_bytes() == Path("figures/report/figure.png").read_bytes()
    assert (place / "MLmodel").is_file()
    (model_id,) = [output.model_id for output in client.get_run(run_id).outputs.model_outputs]
    assert place == Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://"))


@pytest.mark.slow
def test_runs_are_left_out_with_a_reason(workspace: Path) -> None:
    a_run(1, None)
    a_run(2, 0.9, "train")
    client, experiment = tracking.open_store()
    failed = a_run(3, 0.9)
    client.set_terminated(failed, "FAILED")
    bare = client.create_run(experiment, run_name="bare", tags={"stages": ",".join(record.STAGES)}).info.run_id
    client.set_terminated(bare)
    with pytest.raises(UserError, match="no run to register at sqlite:") as error:
        rank([], "", "val/accuracy")
    for words in (
        "has no validation images (data.val_share is 0)", "is not complete: it has no report",
        "is not finished: failed", f"bare ({bare[:8]}) has no logged model",
    ):  # fmt: skip
        assert words in str(error.value)
    older, newer = a_run(4, 0.7), a_run(5, 0.7, key="k4")  # other parameters of figures, the same model
    ranking = rank([], "", "val/accuracy")
    assert [candidate.run_id for candidate in ranking.candidates] == [newer]
    assert len(ranking.left_out) == 5
    assert any(older[:8] in reason and "same model as a newer run" in reason for reason in ranking.left_out)


def test_the_loss_counts_the_other_way_and_filters_hold(workspace: Path) -> None:
    runs = {seed: a_run(seed, accuracy) for seed, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7))}
    by_loss = rank([], "", "val/loss").candidates
    assert [candidate.run_id for candidate in by_loss] == [runs[2], runs[3], runs[1]]
    assert by_loss[0].value == pytest.approx(0.55)
    assert [c.run_id for c in rank([], "params.seed != '2'", "val/accuracy").candidates] == [runs[3], runs[1]]
    assert [c.run_id for c in rank([runs[1]], "", "val/accuracy").candidates] == [runs[1]]
    with pytest.raises(UserError, match="no run is called nobody"):
        rank(["nobody"], "", "val/accuracy")


def test_runs_of_different_data_are_not_ranked(workspace: Path) -> None:
    one, other = a_run(1, 0.5), a_run(2, 0.9, digest="e" * 64)
    with pytest.raises(UserError, match="2 different sets of images") as error:
        rank([], "", "val/accuracy")
    for run, digest in ((one, "d" * 32), (other, "e" * 32)):
        where = f"dataset.digest = '{digest}'"
        assert f'--where "{where}"   generated shapes: tiny-test ({run[:8]})' in str(error.value)
        assert [candidate.run_id for candidate in rank([], where, "val/accuracy").candidates] == [run]


def test_a_run_from_before_there_were_cards(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tracking.Mirror, "_log_card", lambda *_: None)
        patch.setattr(record, "files", lambda stage: [artifacts.METRICS / "train.json"] if stage == "train" else [])
        run_id = a_run(1, 0.8)
    call(monkeypatch)
    assert champion() == (run_id, 1)
    version = tracking.open_store()[0].get_model_version_by_alias("normlens", "champion")
    assert version.description == f"The run {run_id} has no model card."


def test_names_that_mlflow_does_not_take_are_a_sentence(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(1, 0.8)
    for arguments in (["--name", "a/b"], ["--alias", "v1"], ["--alias", "latest"], ["--name", ""]):
        with pytest.raises(UserError, match=r"the model was not registered as .*@.* at sqlite:"):
            call(monkeypatch, *arguments)


def test_the_test_set_is_no_choice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call(monkeypatch, "--metric", "test/accuracy")
    assert "choose from val/accuracy, val/loss" in capsys.readouterr().err.replace("'", "")
    assert all(metric.startswith("val/") for metric in registry.METRICS)
