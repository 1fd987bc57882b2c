"""The benchmarks of speed and growth: ratios, resumption, tables, documents, and that every measure runs."""

import os
import subprocess
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch

from benchmarks import cpu, devices, document, gpu, growth, harness, scale, soak, speed, workspace
from benchmarks.harness import RESULTS, Row, Settings, code_digest, commit, in_turn, in_turn_cold, params_with, table
from src import artifacts
from src.errors import UserError
from tests.conftest import REPOSITORY, copy_repository

CPU = torch.device("cpu")
SMOKE = Settings(CPU, smoke=True, repeats=1)
QUICK = ("training.floor", "training.augmented", "training.norms", "training.growth", "large.decode", "large.read")
ALIKE = ("gpu.batch_norm", "devices.batch_norm", "devices.own_batch_norms")  # as layer_norm, with other parameters
SCALE = ("store.local", "store.server", "experiments.cache", "devices.layer_norm")


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize(
    ("ours", "goal", "at_most", "reached"),
    [(250, 2.5, False, True), (249, 2.5, False, False), (140, 1.4, True, True), (141, 1.4, True, False),
     (1, None, False, True)],
)  # fmt: skip
def test_a_goal_is_a_bound_of_ours_over_against(ours: float, goal: float | None, at_most: bool, reached: bool) -> None:
    row = Row("a / b", ours, 100, "images/s", goal, at_most)
    assert row.ratio == ours / 100
    assert row.reached is reached


@pytest.mark.parametrize(("ours", "against"), [(1, 0), (float("nan"), 1), (1, float("inf"))])
def test_numbers_without_a_ratio_are_rejected(ours: float, against: float) -> None:
    with pytest.raises(ValueError, match="has no ratio"):
        Row("a / b", ours, against, "s", 1.0)


def test_both_sides_alternate_and_the_first_turn_does_not_count() -> None:
    calls: list[str] = []
    values = {"ours": iter([100, 3, 1, 2, 3, 1, 2]), "against": iter([100, 30, 10, 20, 30, 10, 20])}

    def side(name: str) -> float:
        calls.append(name)
        return next(values[name])

    assert in_turn(lambda: side("ours"), lambda: side("against"), repeats=3) == (2, 20)
    assert calls == ["ours", "against"] * 4
    assert in_turn_cold(lambda: side("ours"), lambda: side("against"), repeats=3) == (2, 20)


def test_the_floor_is_arithmetic_plus_traffic() -> None:
    # 6e9 operations at 2e12 a second take 3 ms; 4e6 bytes at 2e9 a second take 2 ms.
    assert speed.floor_seconds(operations=6e9, moved=4e6, rate=2e12, bandwidth=2e9) == pytest.approx(0.005)


def test_values_that_an_earlier_run_left_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_repository(tmp_path / "copy"))
    committed = params_with({"norm": "layer"})
    assert (committed.norm, committed.lr_range.iterations) == ("layer", 300)
    left = Path("params.yaml").read_text(encoding="utf-8").replace("iterations: 300", "iterations: 40")
    Path("params.yaml").write_text(left, encoding="utf-8")
    assert params_with({"norm": "layer"}) == committed


class Machine:
    """A harness whose measures return a row with the ratio 2, or fail, at once."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = file
        self.measured: list[str] = []
        self.failing: dict[str, BaseException] = {}
        monkeypatch.setattr(harness, "in_new_process", self.measure)

    def measure(self, _: object, name: str, settings: Settings) -> list[Row]:
        self.measured.append(name)
        if name in self.failing:
            raise self.failing[name]
        return [Row(name, 2, 1, "s", 3.0)]

    def run(self, *names: str, settings: Settings = SMOKE, again: bool = False, minutes: float = 60) -> list[str]:
        """What is measured."""
        self.measured.clear()
        harness.run(dict.fromkeys(names, settings), self.file, again, minutes)
        return self.measured


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path / "r.json", monkeypatch)


def test_a_run_continues_where_it_stopped(here: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("a", "b", "stopped", "c")
    here.failing = {"b": ValueError("no | memory\nat all"), "stopped": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        here.run(*names)
    assert [row["measure"] for row in artifacts.read_json(here.file)["rows"]] == ["a"]  # written before the end

    del here.failing["stopped"]
    with pytest.raises(UserError, match="failed, see above: b"):
        here.run(*names)
    assert here.measured == ["b", "stopped", "c"]  # what failed is tried again, what is there is kept
    assert "| `b` | | | | | failed: ValueError: no / memory |" in capsys.readouterr().out

    here.failing.clear()
    assert here.run(*names) == ["b"]
    assert [row["measure"] for row in artifacts.read_json(here.file)["rows"]] == list(names)
    assert here.run(*names, again=True) == list(names)
    assert here.run(*names, again=True, minutes=0) == []
    assert "not measured yet: a, b, stopped, c" in capsys.readouterr().out
    with pytest.raises(UserError, match="nothing to measure"):
        here.run()


def test_other_code_settings_or_machines_are_measured_again(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here.run("a", "b") == ["a", "b"]
    assert here.run("a", settings=Settings(CPU, smoke=False, repeats=1)) == ["a"]
    monkeypatch.setattr(harness, "code_digest", lambda: "other")
    assert here.run("b") == ["b"]
    about = harness.machine(CPU)
    monkeypatch.setattr(harness, "machine", lambda device: about | {"system": "another kernel"})
    assert here.run("b") == []
    monkeypatch.setattr(harness, "machine", lambda device: about | {"torch": "another version"})
    assert here.run("b") == ["b"]
    assert list(artifacts.read_json(here.file)["measures"]) == ["b"]


def test_the_code_digest_follows_the_code_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_repository(tmp_path / "copy"))
    before = code_digest()
    Path("benchmarks/results/new.json").write_text("{}", encoding="utf-8")
    Path("README.md").write_text("new", encoding="utf-8")
    assert code_digest() == before
    assert commit().isalnum()
    Path("src/new.py").write_text("", encoding="utf-8")
    assert code_digest() != before
    assert commit().endswith("+changes")


def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(BrokenProcessPool):
        harness.in_new_process(os._exit, 3)


def test_the_table_shows_missed_goals_and_what_it_rests_on() -> None:
    rows = [
        Row("fast", 226_000.4, 12_000, "images/s", 9.0, note="with a note"),
        Row("slow", 1.0, 2.0, "images/s", 2.4),
        Row("heavy", 1.5, 1.0, "GB", 1.4, at_most=True),
        Row("told", 3.0, 2.0, "s", None),
    ]
    about = {"settings": {"smoke": True, "repeats": 3}, "seconds": 90.0, "failed": None, "date": "d", "commit": "c"}
    shown = [row.to_json("all") for row in rows]
    lines = table({"machine": harness.machine(CPU), "measures": {"all": about}, "rows": shown}).splitlines()
    assert lines[2] == "| fast (with a note) | 226,000 images/s | 12,000 images/s | 18.8 | ≥ 9 | reached |"
    assert lines[3] == "| slow | 1 images/s | 2 images/s | 0.5 | ≥ 2.4 | **falls short** |"
    assert lines[4] == "| heavy | 1.5 GB | 1 GB | 1.5 | ≤ 1.4 | **falls short** |"
    assert lines[5] == "| told | 3 s | 2 s | 1.5 |  |  |"
    assert f"PyTorch {torch.__version__.partition('+')[0]}" in lines[7]
    assert "Medians of 3; 1.5 minutes in all" in lines[7]
    assert "its numbers mean nothing" in lines[8]


@pytest.mark.parametrize(("name", "sets"), document.DOCUMENTS.items(), ids=str)
def test_a_document_shows_the_committed_results(name: Path, sets: dict[str, tuple[str, ...]]) -> None:
    text = name.read_text(encoding="utf-8")
    assert document.fill(text, RESULTS, sets) == text, "make it so with: python -m benchmarks.document"


def test_a_place_without_results_lists_the_measures(tmp_path: Path) -> None:
    place = "before\n<!-- results: cpu -->\nold\n<!-- end of results -->\nafter\n"
    assert document.fill(place, tmp_path, {"cpu": ("a.b", "c.d")}) == place.replace(
        "old", "Not measured yet: `a.b`, `c.d`."
    )
    with pytest.raises(UserError, match="must have exactly the places cpu, gpu"):
        document.fill(place, tmp_path, {"cpu": (), "gpu": ()})


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_measure_runs(name: str) -> None:
    rows = list(harness.find(name)(SMOKE))
    assert rows
    assert all(row.ours > 0 for row in rows)


OTHERS = {*cpu.MEASURES, *devices.MEASURES, *gpu.MEASURES, *scale.MEASURES} - {*QUICK, *ALIKE}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.scale if n in SCALE else pytest.mark.slow) for n in sorted(OTHERS)]
)
def test_a_measure_runs_in_its_process(name: str) -> None:
    rows, failed = harness.measure(name, SMOKE)
    assert failed is None
    assert all(row.ours > 0 for row in rows)


def test_devices_are_compared_in_powers_of_two_up_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((2, [2]), (3, [2, 3]), (6, [2, 4, 6]), (8, [2, 4, 8])):
        monkeypatch.setattr(speed, "cores", lambda there=there: there)
        assert speed.device_counts(CPU) == expected
    monkeypatch.setattr(speed, "cores", lambda: 1)
    with pytest.raises(UserError, match="this machine has 1 for cpu"):
        speed.device_counts(CPU)


def test_steps_with_augmentation_continue_in_new_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = speed.Ours({"model.width": 4, "train.batch_size": 8}, CPU, images=20)
    batches: list[list[int]] = []
    monkeypatch.setattr(speed, "train_epoch", lambda _, loader, *__: batches.append([len(y) for _, y in loader]))
    ours.augmented(5)
    assert batches == [[8, 8]] * 3
    assert next(ours.epochs) == 4


def test_growth_is_against_the_smallest_number_and_continues_along_a_line() -> None:
    # From 10 to 1,000 runs 1 s becomes 100 s: 0.1 s a run, and 1 + 0.1 * 99,990 = 10,000 s for 100,000.
    measured = [{"read": (value, "s"), "less": (2.0 - value / 100, "s")} for value in (1.0, 10.0, 100.0)]
    for few in measured[:2]:
        few["page"] = few["read"]
    rows = {row.name: row for row in growth.grown("x", [10, 100, 1000], measured)}
    read = [rows[f"x: read, {n} runs / 10"] for n in ("100", "1,000", "100,000")]
    assert [row.ours for row in read] == [10, 100, pytest.approx(1e4)]
    assert read[1].ratio == 100
    assert "not measured" in read[2].note
    assert rows["x: less, 100,000 runs / 10"].ours == 1.99  # what got faster by chance does not go below zero
    assert "x: page, 1,000 runs / 10" not in rows  # not measured there, so the line ends before
    assert rows["x: page, 100,000 runs / 10"].ours == pytest.approx(1e4)
    assert rows["x: page, 100,000 runs / 10"].note.endswith("through 10 and 100 runs")


def test_the_copy_for_experiments_is_brought_up_to_date(tmp_path: Path) -> None:
    copy = workspace.copy_repository(tmp_path / "copy")
    for name in (".git/HEAD", ".dvc/config", "dvc.yaml", "recipes/standard.yaml", "src/params.py", "own/README.md"):
        assert (copy / name).exists(), name
    assert not list(copy.rglob("__pycache__"))
    kept = {name: copy / name for name in ("dvc.lock", "mlflow.db", ".checkpoints/key/epoch-1.pt", ".dvc/cache/files")}
    moved, params = copy / "src/moved.py", copy / "params.yaml"
    for file in (*kept.values(), moved, copy / ".git/index.lock"):  # git was killed
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("kept")
    committed = params.read_text()
    params.write_text("seed: 9\n")
    workspace.copy_repository(copy)
    assert all(file.read_text() == "kept" for file in kept.values())
    assert not moved.exists()
    assert params.read_text() == committed
    listed = subprocess.run(["git", "ls-files"], cwd=copy, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in kept if name in listed] == ["dvc.lock"]


def test_one_more_with_each_experiment_is_growth() -> None:
    steady = dict.fromkeys(soak.LIMITS, 1.0)
    samples = [steady | {"open_files": number, "threads": number % 2, "children": 0.0 if number else 9.0}
               for number in range(20)]  # fmt: skip
    found = soak.growth(samples)
    assert found["open_files"] == 18
    assert [name for name, size in found.items() if size > soak.LIMITS[name]] == ["open_files"]


def test_what_experiments_leave_behind_is_found(tmp_path: Path) -> None:
    root = workspace.copy_repository(tmp_path / "copy")
    assert soak.left_behind(root) == []
    for name in ("metrics/.train.json.4711.json", ".mlflow.db.12.db", ".dvc/tmp/exps/tmpabc/params.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("", encoding="utf-8")
    left = (".dvc/tmp/exps/tmpabc", ".mlflow.db.12.db", "metrics/.train.json.4711.json")
    assert sorted(soak.left_behind(root)) == [f"{name} is left" for name in left]
