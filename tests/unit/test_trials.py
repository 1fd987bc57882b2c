"""Trials for the recipe laptop: what is run, skipped and resumed, and what is recorded."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import trials
from benchmarks.trials import TRIALS, Record, keys_of, run, run_all, shaping
from src.params import parse_params
from src.training.loop import train
from src.yaml_files import nest
from tests.conftest import REPOSITORY
from tests.unit.training_helpers import make_params, make_prepared


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def test_trials_are_valid_and_differ_from_each_other_and_but_one_from_the_recipe() -> None:
    names = [name for name, _ in TRIALS]
    assert len(set(names)) == len(names)
    settings = [shaping(keys_of(changes)) for _, changes in TRIALS]
    assert sum(keys == shaping(keys_of({})) for keys in settings) == 1
    assert all(settings.count(keys) == 1 for keys in settings)
    for _, changes in TRIALS:
        parse_params(nest(keys_of(changes)))


def test_only_what_the_file_lacks_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[float] = []

    def fake(ready: Any, params: Any, checkpoints: Path) -> dict[str, Any]:
        ran.append(params.train.ema)
        return {"accuracy": 0.5}

    monkeypatch.setattr(trials, "run", fake)
    monkeypatch.setattr(trials, "CACHE", tmp_path)
    chosen: dict[str, dict[str, Any]] = {"a": {"train.ema": 0.5}, "b": {"train.ema": 0.25}}
    file = tmp_path / "trials.json"
    run_all(chosen, make_prepared(), Record(file), minutes=-1)
    assert ran == []
    run_all({"a": chosen["a"]}, make_prepared(), Record(file), minutes=1)
    run_all(chosen, make_prepared(), Record(file), minutes=1)
    assert ran == [0.5, 0.25]
    rows = Record(file).rows
    assert [row["params"]["train.ema"] for row in rows] == [0.5, 0.25]
    assert rows[0]["images"] == {"train": 48, "val": 12}
    assert not Record(file).has(keys_of(chosen["a"]), "other data")


def test_an_interrupted_trial_resumes_and_the_validation_split_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(BaseException):
        pass

    def interrupted(*arguments: Any, **others: Any) -> Any:
        def stop(row: Any) -> None:
            raise Interrupted

        return train(*arguments, **others | {"on_epoch": stop})

    params, ready = make_params(lr=0.01, **{"train.epochs": 3}), make_prepared()
    whole = run(ready, params, tmp_path / "whole")
    monkeypatch.setattr(trials, "train", interrupted)
    with pytest.raises(Interrupted):
        run(ready, params, tmp_path / "part")
    monkeypatch.setattr(trials, "train", train)
    resumed = run(ready, params, tmp_path / "part")
    for name in ("lr", "accuracy", "loss", "model_key"):
        assert resumed[name] == whole[name], name
    assert resumed["seconds"] > 0
    (folder,) = (tmp_path / "part").iterdir()
    assert (folder / "epoch-000003.pt").exists()


def test_a_trial_that_diverges_is_a_result(tmp_path: Path) -> None:
    found = run(make_prepared(), make_params(lr=1e12), tmp_path)
    assert "not finite" in found["failed"]
    assert found["lr"] == 1e12
    assert "accuracy" not in found
