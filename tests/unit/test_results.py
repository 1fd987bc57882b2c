"""The recipes' results: tables, goals, runs that resume, and runs found in an MLflow store."""

import re
import subprocess
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import Metric, Param, RunTag

from benchmarks import logged, recipe_results, recipes
from benchmarks.harness import RESULTS, params_with
from benchmarks.logged import Logged, find, params_digest
from benchmarks.recipe_results import (
    DOCUMENT,
    README,
    SOURCES,
    VARIANTS,
    Results,
    claims,
    curves,
    fill,
    fill_readme,
    goals,
    read,
    section,
    trials,
)
from benchmarks.recipes import Planned, command_line, common_settings, plan, run_all
from benchmarks.trials import keys_of, shaping
from benchmarks.workspace import copy_repository
from src import artifacts, git, record, tracking
from src.artifacts import PARAMS
from src.errors import UserError
from src.params import Params
from src.results import DataSet, Duplicates, Training
from src.training.key import model_key
from src.yaml_files import read_yaml
from tests.conftest import PARAMS_YAML, REPOSITORY

DATA = "some images"


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("benchmarks.harness.base", lambda: read_yaml(PARAMS_YAML))


def a_run(name: str, accuracy: float = 0.9, **changes: Any) -> Logged:
    """A run with an interval of 0.01 either way; a model key that fits its parameters where `params` are given."""
    params: Params = changes.pop("params", params_with({}))
    run = Logged(
        name=name, seed=0, norm="batch", epochs=20, batch_size=512, lr=0.5, swept=True, accuracy=accuracy,
        low=accuracy - 0.01, high=accuracy + 0.01, flip=None, reference=None, seconds=60.0, images_per_second=12_345.6,
        val_accuracy=[0.5, 0.7], hardware="a machine", device="cpu", precision="fp32", versions="python 3",
        date="2026-01-02", commit="abc", run_id="1", images={"train": 45_000, "val": 5_000, "test": 10_000},
        data_digest="d", params_digest=params_digest(params), settings_digest="s",
        model_key=model_key(params, 0.5, "d", "cpu", "fp32"),
    )  # fmt: skip
    return replace(run, **changes)


def result(*runs: Logged) -> recipe_results.Result:
    return {"data": DATA, "command": "python x", "runs": [vars(run) for run in runs]}


def test_a_row_of_the_table_and_what_is_missing() -> None:
    run = a_run("seed-003", 0.9, norm="layer", lr=0.001, swept=False, flip=[0.91, 0.9, 0.92], reference=0.9003)
    lines = section(result(run)).splitlines()
    assert lines[2] == (
        "| `seed-003` | `layer` | 20 | 512 | 0.001 | 1 | 90.00 % (89.00 % to 91.00 %) | 91.00 % | 90.03 % | 1 min 0 s "
        "| 12,346 | a machine, fp32 |"
    )
    assert lines[4].startswith("Not measured yet: `laptop`, `standard`, `standard-layer`, ")
    assert "seed-003" not in lines[4]


def test_seeds_of_a_variant_share_a_row() -> None:
    runs = [a_run("standard", accuracy, seed=seed) for seed, accuracy in enumerate((0.94, 0.95, 0.96))]
    line = section(result(*runs)).splitlines()[2]
    # The deviation is 0.01: 4.302653 * 0.01 / sqrt(3) is 0.024841.
    assert "| 0.5 (range test) | 3 | 95.00 % (92.52 % to 97.48 %) |" in line


def test_the_claims_say_number_command_runs_and_hardware() -> None:
    laptop = [a_run("laptop", 0.91, seed=seed, seconds=600 + 60 * seed) for seed in range(3)]
    text = claims(result(*laptop, a_run("standard", 0.95)))
    assert "**`laptop`: 91.00 % (91.00 % to 91.00 %) test accuracy on some images after 11 min 0 s of training" in text
    assert "n = 3, a machine, fp32" in text
    assert "python x --only laptop --seeds 3\n" in text
    assert "python x --only standard\n" in text
    assert claims(None).count("Not measured yet") == 2


def verdicts(*runs: Logged) -> list[str]:
    """The result of each goal: laptop, standard, standard above the source projects, standard-layer."""
    return [line.split(" | ")[1] for line in goals(result(*runs)).splitlines()[2:]]


@pytest.mark.parametrize(
    ("accuracies", "seconds", "verdict"),
    [
        ((0.90, 0.91, 0.89), 900, "reached"),
        ((0.90, 0.91, 0.88), 900, "**falls short**"),
        ((0.90, 0.91, 0.89), 901, "**falls short**"),  # one training is too long
        ((0.95, 0.95), 600, "not measured"),
    ],
)
def test_laptop_is_judged_by_the_mean_of_three_seeds_and_its_longest_training(
    accuracies: tuple[float, ...], seconds: float, verdict: str
) -> None:
    runs = [a_run("laptop", accuracy, seed=seed) for seed, accuracy in enumerate(accuracies)]
    runs[-1] = replace(runs[-1], seconds=seconds)
    assert verdicts(*runs)[0] == verdict


def test_standard_and_standard_layer_are_judged_by_their_accuracy() -> None:
    assert verdicts() == ["not measured"] * 4
    assert verdicts(a_run("standard", 0.94), a_run("standard-layer", 0.92))[1::2] == ["reached"] * 2
    assert verdicts(a_run("standard", 0.939), a_run("standard-layer", 0.919))[1::2] == ["**falls short**"] * 2


def test_standard_is_to_be_clear_of_every_source_project() -> None:
    others = [a_run(name, 0.90) for name in SOURCES]
    # Intervals of 0.01 either way: from 0.92 on they touch, above they do not.
    assert verdicts(a_run("standard", 0.921), *others)[2] == "reached"
    assert verdicts(a_run("standard", 0.919), *others)[2] == "**falls short**"
    assert verdicts(a_run("standard", 0.95), *others[1:])[2] == "not measured"
    # One that is not beaten decides.
    assert verdicts(a_run("standard", 0.95), a_run("seed-002", 0.94))[2] == "**falls short**"


def test_runs_of_different_data_do_not_compare() -> None:
    assert verdicts(a_run("standard"), a_run("seed-000", data_digest="other")) == ["not comparable"] * 4


def test_a_file_continues_and_is_replaced_for_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.json"
    before = Results(file, DATA, "python x")
    before.add(a_run("seed-000"))
    before.add(a_run("standard", seed=1))
    before.add(a_run("standard"))
    before.add(a_run("seed-000", 0.8))
    again = Results(file, DATA, "python y")
    assert [(run.name, run.seed, run.accuracy) for run in again.runs] == [
        ("standard", 0, 0.9),
        ("standard", 1, 0.9),
        ("seed-000", 0, 0.8),
    ]
    assert again.runs == before.runs
    again.add(a_run("standard", settings_digest="of a changed recipe"))
    assert [(run.name, run.seed) for run in again.runs] == [("standard", 0), ("seed-000", 0)]
    assert Results(file, "other images", "python x").runs == []
    assert "they are replaced" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"data": "", "command": "", "runs": [{}]}'])
def test_a_file_that_is_none_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"r\.json is not a result file of benchmarks\.recipes"):
        read(tmp_path / "r.json")


def test_what_the_same_code_gave_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = params_with({"seed": 5})
    results = Results(tmp_path / "r.json", DATA, "python x")
    results.add(a_run("standard", seed=5, params=params))
    assert results.known("standard", params, "cpu") == results.runs[0]
    assert results.known("standard", params_with({"seed": 5, "device": "cpu", "data.path": "other"}), "cpu")
    assert results.known("seed-000", params, "cpu") is None
    assert results.known("standard", params, "cuda") is None
    assert results.known("standard", params_with({"seed": 6}), "cpu") is None
    monkeypatch.setattr("src.training.key.sha256_sources", lambda paths: "other code")
    assert results.known("standard", params, "cpu") is None


def planned(name: str, seed: int = 0) -> Planned:
    return Planned(name, {"seed": seed}, params_with({"seed": seed}))


def test_runs_go_on_after_a_failure_and_are_written_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path / "r.json", DATA, "python x")
    written: list[list[str]] = []

    def measure(run: Planned) -> Logged:
        written.append([r["name"] for r in read(results.file)["runs"]] if results.file.exists() else [])
        if run.name == "seed-000":
            raise UserError("no memory")
        return a_run(run.name)

    runs = [planned("standard"), planned("seed-000"), planned("seed-001")]
    assert run_all(runs, results, measure, minutes=1e6) == ["seed-000, seed 0: no memory"]
    assert written == [[], ["standard"], ["standard"]]
    assert [run.name for run in results.runs] == ["standard", "seed-001"]
    assert run_all(runs, results, measure, minutes=-1) == []
    assert len(written) == 3
    assert "not measured yet: standard, seed 0; seed-000, seed 0; seed-001, seed 0;" in capsys.readouterr().out


def test_the_plan_has_each_recipe_with_its_own_seed_or_with_those_asked_for() -> None:
    names = ["laptop", "standard:norm=layer", "seed-002"]
    runs = plan(names, {"device": "cpu"}, seeds=None)
    assert [(run.name, run.params.seed) for run in runs] == [
        ("laptop", 0),
        ("standard:norm=layer", 0),
        ("seed-002", 1),
    ]
    assert [run.params.recipe for run in runs] == ["laptop", "standard", "seed-002"]
    assert [run.params.norm for run in runs] == ["batch", "layer", "batch"]
    assert {run.params.device for run in runs} == {"cpu"}
    both = plan(["laptop", "seed-002"], {}, seeds=2)
    assert [(run.name, run.params.seed) for run in both] == [
        ("laptop", 0),
        ("laptop", 1),
        ("seed-002", 0),
        ("seed-002", 1),
    ]


def arguments(**changes: Any) -> Namespace:
    return Namespace(**{"data": "", "data_name": "CIFAR-10", "device": "auto", "smoke": False} | changes)


def test_settings_and_the_command_that_the_page_shows(tmp_path: Path) -> None:
    assert common_settings(arguments()) == {"device": "auto"}
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"abc")
    own = arguments(data=str(archive), data_name="my images")
    assert common_settings(own) == {
        "device": "auto",
        "data.source": "folder",
        "data.path": str(archive),
        "data.sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # FIPS 180-2, appendix B.1
    }
    assert command_line(own) == f"python -m benchmarks.recipes --data {archive} --data-name 'my images'"
    assert command_line(arguments(smoke=True)) == "python -m benchmarks.recipes --smoke"


def test_a_new_start_has_new_code_and_what_an_interrupted_training_left(tmp_path: Path) -> None:
    def committed() -> list[str]:
        command = ["git", "ls-files"]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=True).stdout.splitlines()

    copy = copy_repository(tmp_path / "copy")
    before = committed()
    left = (".checkpoints/k/epoch-000001.pt", ".dvc/cache/files/x", "metrics/history.csv")
    for name in (*left, "src/gone.py", ".git/index.lock", ".dvc/tmp/rwlock"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    copy_repository(copy)
    assert committed() == before
    assert all((copy / name).exists() for name in left)
    assert not (copy / ".dvc/tmp/rwlock").exists()


@pytest.mark.parametrize(("document", "filled"), [(DOCUMENT, fill), (README, fill_readme)])
def test_the_documents_show_the_committed_results(document: Path, filled: Callable[[str, Path], str]) -> None:
    text = document.read_text(encoding="utf-8")
    assert filled(text, RESULTS) == text, "make it so with: python -m benchmarks.recipe_results"


def test_places_are_filled_and_all_are_needed(tmp_path: Path) -> None:
    names = (*recipe_results.FILES, "claims", "goals", "trials", "recorded")
    places = [f"<!-- results: {name} -->\nold\n<!-- end of results -->" for name in names]
    artifacts.write_json(tmp_path / "recipes-cuda.json", result(a_run("standard")))
    filled = fill("before\n" + "\n".join(places) + "\nafter", tmp_path)
    assert "old" not in filled
    assert "| `standard` | `batch` | 20 |" in filled
    assert "![Validation accuracy by epoch](../../benchmarks/results/recipes-cuda.png)" in filled
    assert "recipes-cpu.png" not in filled
    assert "| `seed-002` | 002_478f47d3c1c33167.txt | `batch` | 20 | 92.44 % |" in filled
    assert fill(filled, tmp_path) == filled
    with pytest.raises(UserError, match="recorded"):
        fill("\n".join(places[:-1]), tmp_path)


def test_trials_are_shown_by_how_they_differ_from_the_recipe_now() -> None:
    def trial(changes: dict[str, Any], **numbers: Any) -> dict[str, Any]:
        machine = {"hardware": "a machine", "torch": "2"}
        about = {"precision": "bf16", "machine": machine, "date": "2026-01-02", "commit": "abc"}
        return {"params": shaping(keys_of(changes)), "images": {"train": 900, "val": 100}, **about, **numbers}

    measured = {"lr": 0.1, "accuracy": 0.5, "seconds": 60.0, "images_per_second": 1234.5}
    flip = [{"name": "HorizontalFlip", "p": 0.5}]
    rows = [
        trial({"train.ema": 0.5, "augment": flip}, **measured),
        trial({"lr": 99.0}, lr=99.0, failed="not finite"),
        trial({}, **measured | {"accuracy": 0.75}),
    ]
    lines = trials(rows).splitlines()
    assert lines[2:5] == [  # the best first
        "| nothing | 0.1 | 75.00 % | 1 min 0 s | 1,234 |",
        "| train.ema 0.5, augment HorizontalFlip | 0.1 | 50.00 % | 1 min 0 s | 1,234 |",
        "| lr 99.0 | 99 | failed: not finite |  |  |",
    ]
    assert "900 training and 100 validation images" in lines[6]
    assert "65.70 % to 82.45 %" in lines[6]  # Wilson's interval of 75 of 100
    assert trials([]) == "Not measured yet."


def test_each_run_is_a_curve_and_each_recipe_has_one_label() -> None:
    runs = [
        a_run("standard", val_accuracy=[0.2, 0.4]),
        a_run("standard", seed=1, val_accuracy=[0.4, 0.8]),
        a_run("seed-000", val_accuracy=[0.1, 0.2, 0.3]),
        a_run("seed-001", val_accuracy=[]),
    ]
    figure = curves(runs).figure
    lines = [np.asarray(line.get_xydata()).tolist() for line in figure.axes[0].get_lines()]
    assert lines == [[[1, 0.2], [2, 0.4]], [[1, 0.4], [2, 0.8]], [[1, 0.1], [2, 0.2], [3, 0.3]]]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["standard (2 seeds)", "seed-000"]
    assert recipe_results.LOOKS.keys() == VARIANTS.keys()


class Store:
    """An MLflow store with runs as the pipeline leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client, self.experiment = tracking.open_store()

    def put(self, params: Params, status: str = "FINISHED", accuracy: float = 0.9, code: str = "") -> str:
        """A run of `params` with everything that is read of it; its id."""
        key = code or model_key(params, 0.5, "d", "cpu", "fp32")
        tags = {"stages": ",".join(record.STAGES), "hardware": "a machine", "device": "cpu", "precision": "fp32"}
        tags |= {"versions": "python 3", "model_key": key, "mlflow.source.git.commit": "0123456789"}
        metrics = {"test/accuracy": accuracy, "test/accuracy_low": 0.8, "test/accuracy_high": 0.95}
        history = {"val/accuracy": (0.3, 0.4)}
        run_id = str(self.client.create_run(self.experiment).info.run_id)
        self.client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in record.flat_params(params).items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
            metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()]
            + [Metric(name, v, 0, step) for name, both in history.items() for step, v in ((2, both[1]), (1, both[0]))],
        )
        none = Duplicates(train_test=0, train_val=0, val_test=0, two_labels=0, examples=[])
        files = (
            DataSet(
                source="shapes", digest="d", classes=10, size=32, share=1.0, train=45, val=5, test=10, unreadable=0,
                layout="", counts=[], left_out=[], notes=[], duplicates=none,
            ),
            Training(
                train_loss=1.0, train_accuracy=0.5, epochs=2, best_epoch=2, seconds=30.0, images_per_second=200.0,
                parameters=1000, lr=0.5,
            ),
        )  # fmt: skip
        for content in files:
            file = self.folder / content.PATH
            artifacts.write_json(file, content.model_dump())
            self.client.log_artifact(run_id, str(file), content.PATH.parent.as_posix())
        self.client.set_terminated(run_id, status)
        return run_id


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(tmp_path)


def test_a_run_is_found_by_its_parameters_and_read_whole(store: Store) -> None:
    params = params_with({"seed": 5, "data.path": "/there"})

    def found(wanted: Params = params, kind: str = "cpu") -> Logged | None:
        return find(store.client, store.experiment, "standard", wanted, kind)

    store.put(params_with({"seed": 6}))
    store.put(params, status="FAILED")
    store.put(params, code="trained by other code")
    assert found() is None
    run_id = store.put(params)
    run = found()
    assert run == a_run(
        "standard", 0.9, params=params, seed=5, epochs=2, batch_size=128, low=0.8, high=0.95, seconds=30,
        images_per_second=200, val_accuracy=[0.3, 0.4], images={"train": 45, "val": 5, "test": 10}, commit="0123456",
        run_id=run_id, date=run.date if run else "", settings_digest=params_digest(params_with({"seed": 0})),
    )  # fmt: skip
    elsewhere = found(params_with({"seed": 5, "data.path": "/here", "device": "cpu"}))
    assert elsewhere is not None
    assert elsewhere.run_id == run_id
    assert found(params_with({"seed": 5, "train.epochs": 21})) is None
    assert found(kind="cuda") is None
    store.client.set_tag(run_id, logged.COMMIT, "abc+changes")
    for end, value in (("", 0.91), ("_low", 0.9), ("_high", 0.92)):
        store.client.log_metric(run_id, f"test/flip_accuracy{end}", value)
    run = found()
    assert run is not None
    assert (run.commit, run.flip) == ("abc+changes", [0.91, 0.9, 0.92])


def test_only_what_neither_store_nor_file_has_is_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[list[str], str]] = []
    outcome = {"code": 1, "logs": False}

    def run(command: list[str], env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append((command[1:], env["MLFLOW_TRACKING_URI"]))
        assert "DVC_ROOT" not in env
        if outcome["logs"]:
            store.put(wanted.params)
        return subprocess.CompletedProcess(command, outcome["code"])

    monkeypatch.setattr(subprocess, "run", run)
    results = Results(tmp_path / "r.json", DATA, "python x")
    wanted = planned("standard", seed=5)

    def measured() -> Logged:
        return recipes.measure(wanted, results, "cpu", "abc")

    with pytest.raises(UserError, match="the recipe failed"):
        measured()
    outcome["code"] = 0
    with pytest.raises(UserError, match="no complete run of it"):
        measured()
    outcome["logs"] = True
    first = measured()
    assert first.commit == "abc"
    command = ["-m", "recipes", "standard", "--name", "standard-seed5", "-S", "seed=5"]
    assert commands == [(command, f"sqlite:///{tmp_path}/mlflow.db")] * 3
    assert measured() == first  # from the store, with the commit that it was tagged with
    results.add(first)
    for found in store.client.search_runs([store.experiment]):
        store.client.delete_run(found.info.run_id)
    assert measured() == first  # from the file
    assert len(commands) == 3


def test_changed_parameters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["recipes", "--smoke"])
    monkeypatch.setattr(recipes, "uncommitted", lambda: {"norm": ("layer", "batch")})
    with pytest.raises(UserError, match=re.escape(git.undo(PARAMS))):
        recipes.main()
