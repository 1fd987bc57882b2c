"""What a sweep's file may say, which trials it makes, and how one trial ends, without a cluster."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from commands.sweep import check_points, main
from src import artifacts, record, tracking
from src.comparison.read import read_runs
from src.errors import UserError
from src.sweep import experiment
from src.sweep.experiment import Experiment, Job
from src.sweep.ledger import Ledger, words
from src.sweep.spec import Space, Spec, read_spec, trial_name
from src.yaml_files import flatten, read_yaml
from tests.conftest import PARAMS_YAML, REPOSITORY
from tests.run_files import committed_params, enter_run, train

COMMITTED = flatten(read_yaml(PARAMS_YAML))
REST: dict[str, Any] = {
    "name": "norms",
    "resources": {"cpu": 1, "gpu": 0},
    "storage": "/shared",
    "remotes": {"git": "origin", "dvc": "storage"},
}
GRID = {"norm": ["batch", "layer"], "seed": [0, 1, 2]}


def write(folder: Path, **content: Any) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(REST | content))
    return file


def make(**content: Any) -> Spec:
    return Spec.model_validate(REST | content)


def job(folder: Path, spec: Spec) -> Job:
    return Job(spec, COMMITTED, {**COMMITTED, **spec.set}, folder, "0" * 40, "", "", "sqlite:///none", "parent")


def test_a_grid_is_every_combination_the_last_key_fastest(tmp_path: Path) -> None:
    points = read_spec(write(tmp_path, grid=GRID)).grid_points()
    assert [tuple(point.values()) for point in points] == [
        ("batch", 0), ("batch", 1), ("batch", 2), ("layer", 0), ("layer", 1), ("layer", 2),
    ]  # fmt: skip


def test_the_example_is_a_sweep_of_parameters_that_are_allowed() -> None:
    file = REPOSITORY / "docs/scale/sweep.yaml"
    spec = read_spec(file)
    check_points(spec, {**COMMITTED, **spec.set}, file)
    assert spec.search


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "the sweep must have either grid or search"),
        ({"grid": GRID, "search": {"lr": {"log": [0.1, 1]}}}, "the sweep must have either grid or search"),
        ({"search": {"lr": {"log": [0.1, 1]}}}, "the sweep must have trials"),
        ({"grid": GRID, "trials": 3}, "the sweep must have trials"),
        ({"grid": GRID, "name": "My sweep"}, "name must be up to 40 lower-case letters, digits and dashes"),
        ({"grid": GRID, "storage": "shared"}, "the sweep must have an absolute path as storage"),
        ({"grid": GRID, "resorces": {}}, "resorces is not a key of a sweep (did you mean resources?)"),
        ({"grid": GRID, "resources": {"cpu": 1}}, "resources.gpu is missing"),
        ({"grid": GRID, "resources": {"cpu": 0, "gpu": 0}}, "resources.cpu is 0. It should be greater than 0"),
        ({"grid": {"norm": "batch"}}, "grid.norm is 'batch'. It should be a valid list"),
        ({"grid": {str(i): [0] * 10 for i in range(5)}}, "the sweep has more than 10,000 trials in its grid"),
        ({"search": {"lr": {"log": [0, 1]}}, "trials": 2}, "search.lr must be above 0"),
        ({"search": {"lr": {"log": [1, 0.1]}}, "trials": 2}, "search.lr.log must be [low, high]"),
        ({"search": {"lr": {}}, "trials": 2}, "search.lr must be one of choice"),
        ({"search": {"lr": {"int": [0.5, 2]}}, "trials": 2}, "search.lr must be whole numbers"),
        ({"search": {"lr": {"log": [0.1, 1], "int": [1, 2]}}, "trials": 2}, "search.lr must be one of choice"),
    ],
)
def test_what_a_file_may_not_say_is_a_sentence(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        read_spec(write(tmp_path, **content))
    assert f"sweep.yaml: {said}" in str(error.value)
    assert "docs/scale/sweeps.md" in str(error.value)


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x", "!!python/object:os.system {}", "a: 1\na: 2"])
def test_tags_aliases_and_doubled_keys_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="is not valid YAML"):
        read_spec(file)
    with pytest.raises(UserError, match="does not exist"):
        read_spec(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"grid": {"norm": ["batch", "bacth"]}}, "norm is 'bacth' (did you mean batch?)"),
        ({"grid": {"nrom": ["batch"]}}, "nrom is not a parameter (did you mean norm?)"),
        ({"grid": GRID, "set": {"train.epochs": 0}}, "train.epochs is 0"),
        ({"search": {"train.ema": {"uniform": [0, 2]}}, "trials": 2}, "train.ema is 2"),
        ({"grid": {"data.val_share": [0.0]}, "asha": {"grace": 1, "reduction": 3}}, "need the validation accuracy"),
    ],
)
def test_wrong_parameters_are_told_before_anything_runs(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    spec = make(**content)
    with pytest.raises(UserError) as error:
        check_points(spec, {**COMMITTED, **spec.set}, tmp_path / "sweep.yaml")
    assert said in str(error.value)


@given(
    low=st.floats(1e-9, 1e3),
    factor=st.floats(1.001, 1e6),
    share=st.floats(0, 1),
    kind=st.sampled_from(["log", "uniform"]),
)
def test_a_tidy_number_is_short_near_what_was_drawn_and_within_the_bounds(
    low: float, factor: float, share: float, kind: str
) -> None:
    high = low * factor
    space = Space.model_validate({kind: [low, high]})
    drawn = min(low + share * (high - low), high)
    tidy = space.tidy(drawn)
    assert low <= tidy <= high
    assert tidy == pytest.approx(drawn, rel=1e-3)
    assert tidy in (low, high) or len(f"{tidy:e}".rstrip("0").partition("e")[0].rstrip("0")) <= 5
    assert space.tidy(tidy) == tidy


def test_the_same_parameters_have_the_same_name_whatever_the_sweep_varies(tmp_path: Path) -> None:
    varied = make(grid={"norm": ["layer"], "seed": [1]})
    fixed = make(grid={"seed": [1]}, set={"norm": "layer"})
    names = [
        trial_name(spec, job(tmp_path, spec).params(point)) for spec in (varied, fixed) for point in spec.grid_points()
    ]
    assert names[0] == names[1]
    assert names[0].startswith("norms-")
    other = make(grid={"seed": [2]}, set={"norm": "layer"})
    assert trial_name(other, job(tmp_path, other).params({"seed": 2})) != names[0]


def test_a_sweep_knows_its_own_trials_after_its_file_was_changed() -> None:
    grid = make(grid={"norm": ["batch"], "seed": [0, 1]})
    assert grid.asks_for({"norm": "batch", "seed": 1})
    assert not grid.asks_for({"norm": "batch", "seed": 2})
    search = make(search={"lr": {"log": [0.01, 0.1]}, "norm": {"choice": ["batch"]}, "seed": {"int": [0, 3]}}, trials=2)
    assert search.asks_for({"lr": 0.1, "norm": "batch", "seed": 0})
    assert not search.asks_for({"lr": 0.2, "norm": "batch", "seed": 0})
    assert not search.asks_for({"lr": 0.1, "norm": "layer", "seed": 0})
    assert not search.asks_for({"lr": 0.1, "norm": "batch"})


def test_a_ledger_keeps_what_is_known_and_the_newest_epoch(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert (ledger.record("a"), ledger.records(), ledger.last_epoch("a")) == ({}, {}, {})
    ledger.write("a", status="running", attempts=1)
    ledger.write("a", status="finished")
    assert ledger.records() == {"a": {"status": "finished", "attempts": 1}}
    for key, epoch in (("x", 3), ("y", 2)):
        artifacts.write_json(ledger.checkpoints("a") / key / "last.json", {"epoch": epoch, "val_accuracy": 0.5})
    assert ledger.last_epoch("a")["epoch"] == 3
    ledger.forget_checkpoints("a")
    assert ledger.last_epoch("a") == {}


def test_a_trial_that_has_ended_elsewhere_is_not_run_again(tmp_path: Path) -> None:
    spec = make(grid=GRID)
    trial = Experiment(job(tmp_path, spec), {"norm": "batch", "seed": 0})
    Ledger(tmp_path).write(trial.name, status="finished", epoch=20, accuracy=0.5, attempts=1)
    assert trial.progress() == {"epoch": 20, "val_accuracy": 0.5, "done": True, "status": "finished", "error": ""}
    trial.stop()
    assert Ledger(tmp_path).record(trial.name)["attempts"] == 1
    assert not (tmp_path / "logs").exists()


def test_a_trial_that_cannot_be_cloned_fails_in_words_and_counts_as_the_worst(tmp_path: Path) -> None:
    trial = Experiment(job(tmp_path, make(grid=GRID)), {"norm": "batch", "seed": 0})
    told = trial.progress()
    trial.stop()
    assert (told["status"], told["done"], told["val_accuracy"]) == ("failed", True, 0.0)
    assert told["error"].startswith("git clone ended with ")
    assert "fatal" in Ledger(tmp_path).log(trial.name).read_text()
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize(
    ("said", "raises"),
    [
        ("error: the loss is not finite\nERROR: failed to reproduce 'train'", False),
        ("stopped by SIGTERM. The same command resumes", True),
        ("ERROR: failed to reproduce 'train': failed to run: exec python -m stages.train, exited with -9", True),
    ],
)
def test_what_a_machine_did_is_told_from_what_a_trial_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, raises: bool
) -> None:
    """The first is tried again on another machine, the second is not."""
    trial = Experiment(job(tmp_path, make(grid=GRID)), {"norm": "batch", "seed": 0})
    monkeypatch.setattr(Experiment, "_run", lambda *_: None)
    monkeypatch.setattr(experiment, "DVC", f"print({said!r}); raise SystemExit(1)")
    if raises:
        with pytest.raises(RuntimeError, match="was stopped from outside"):
            trial.progress()
    else:
        assert trial.progress()["error"] == "the loss is not finite"
    trial.stop()


def test_a_sweep_says_where_checkpoints_lie_and_whose_trial_a_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NORMLENS_CHECKPOINTS", raising=False)
    monkeypatch.delenv("NORMLENS_SWEEP_RUN", raising=False)
    assert artifacts.checkpoints() == artifacts.root() / ".checkpoints"
    assert record.sweep_tags() == {}
    monkeypatch.setenv("NORMLENS_CHECKPOINTS", "/shared/one")
    monkeypatch.setenv("NORMLENS_SWEEP_RUN", "abc")
    assert artifacts.checkpoints() == Path("/shared/one")
    assert record.sweep_tags() == {"mlflow.parentRunId": "abc"}


def test_a_sweeps_run_holds_its_trials_and_marks_those_that_were_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_run(tmp_path, monkeypatch)
    file = write(tmp_path, grid=GRID)
    with tracking.Sweep("key", "sweep norms", file) as sweep:
        monkeypatch.setenv("NORMLENS_SWEEP_RUN", sweep.run_id)
        for seed, name in enumerate(("norms-a", "norms-b")):
            monkeypatch.setenv("DVC_EXP_NAME", name)
            assert train(committed_params(seed=seed)).complete
        sweep.tell("of two", {"stopped": "1"}, {"norms-b": 3})
    client, experiment = tracking.open_store()
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    parent = runs.pop("sweep norms")
    assert (parent.info.status, parent.data.tags["stopped"]) == ("FINISHED", "1")
    assert parent.data.tags["mlflow.note.content"] == "of two"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {name: (run.info.status, run.data.tags.get("stopped_epoch")) for name, run in runs.items()} == {
        "norms-a": ("FINISHED", None),
        "norms-b": ("KILLED", "3"),
    }

    with pytest.raises(KeyboardInterrupt), tracking.Sweep("key", "sweep norms", file) as again:
        raise KeyboardInterrupt
    assert again.run_id == parent.info.run_id
    assert client.get_run(again.run_id).info.status == "KILLED"
    with tracking.Sweep("key of another", "sweep norms", file) as other:
        assert other.run_id != parent.info.run_id
    with pytest.raises(UserError) as error:
        read_runs()
    assert parent.info.run_id[:8] not in str(error.value)


def test_a_sweep_without_a_store_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with (
        pytest.raises(UserError, match=r"the sweep did not reach http://127.0.0.1:9: "),
        tracking.Sweep("key", "sweep norms", write(tmp_path, grid=GRID)),
    ):
        pass


def test_a_line_says_what_became_of_a_trial() -> None:
    point = {"norm": "layer", "seed": 1}
    assert words({"status": "running", "point": point}) == "norm=layer seed=1"
    ended = {"status": "finished", "point": point, "accuracy": 0.5, "test_accuracy": 0.25}
    assert words(ended) == "norm=layer seed=1: validation 50.00 %, test 25.00 %"
    assert words(ended | {"accuracy": None}) == "norm=layer seed=1: test 25.00 %"
    stopped = {"status": "stopped", "point": point, "accuracy": 0.5, "epoch": 3}
    assert words(stopped) == "norm=layer seed=1: after epoch 3, validation 50.00 %"
    assert words({"status": "failed", "point": point, "error": "no room"}) == "norm=layer seed=1: no room"


def test_a_commit_that_machines_cannot_get_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", str(write(tmp_path, grid=GRID, remotes={"git": "nowhere", "dvc": "x"}))])
    with pytest.raises(UserError, match=r"nowhere, which lacks commit \w{10}\. .*: git push nowhere HEAD"):
        main()
