"""The benchmarks' own logic: ratios and goals, going on where a run stopped, tables, and that measures run."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from benchmarks import (
    cpu,
    devices,
    document,
    gpu,
    peer_side,
    peers,
    results,
    run,
    scale,
    session,
    soak,
    store,
    workspace,
)
from benchmarks.harness import (
    RESULTS,
    Row,
    Settings,
    code_digest,
    copy_bandwidth,
    floor_seconds,
    in_process,
    in_turn,
    in_turn_cold,
    machine,
    matmul_dtype,
    matmul_rate,
    params_with,
    random_data,
)
from benchmarks.results import Results, read, table
from src.errors import UserError
from src.processes import cores
from tests.conftest import REPOSITORY, copy_repository

CPU = torch.device("cpu")
SMOKE = Settings(CPU, smoke=True, repeats=1)


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize(
    ("ours", "against", "goal", "at_most", "reached"),
    [
        (250, 100, 2.5, False, True),
        (249, 100, 2.5, False, False),
        (140, 100, 1.4, True, True),
        (141, 100, 1.4, True, False),
        (1, 100, None, False, True),
    ],
)
def test_a_goal_is_a_bound_of_ours_over_against(
    ours: float, against: float, goal: float | None, at_most: bool, reached: bool
) -> None:
    row = Row("a / b", ours, against, "images/s", goal, at_most)
    assert row.ratio == ours / against
    assert row.reached is reached


@pytest.mark.parametrize(("ours", "against"), [(1, 0), (float("nan"), 1), (1, float("inf"))])
def test_numbers_without_a_ratio_are_refused(ours: float, against: float) -> None:
    with pytest.raises(ValueError, match="has no ratio"):
        Row("a / b", ours, against, "s", 1.0)


def test_repeats_are_odd() -> None:
    with pytest.raises(ValueError, match="odd"):
        Settings(CPU, smoke=False, repeats=2)


def test_both_sides_take_turns_and_the_first_turn_does_not_count() -> None:
    calls: list[str] = []
    values = {"ours": iter([100, 3, 1, 2]), "against": iter([100, 30, 10, 20])}

    def side(name: str) -> float:
        calls.append(name)
        return next(values[name])

    assert in_turn(lambda: side("ours"), lambda: side("against"), repeats=3) == (2, 20)
    assert calls == ["ours", "against"] * 4
    values = {"ours": iter([3, 1, 2]), "against": iter([30, 10, 20])}
    assert in_turn_cold(lambda: side("ours"), lambda: side("against"), repeats=3) == (2, 20)


def test_the_floor_is_arithmetic_plus_traffic() -> None:
    # 6e9 operations at 2e12 a second take 3 ms; 4e6 bytes at 2e9 a second take 2 ms.
    assert floor_seconds(operations=6e9, moved=4e6, rate=2e12, bandwidth=2e9) == pytest.approx(0.005)


def test_rates_of_the_machine_count_two_operations_a_product_and_both_directions_of_a_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.harness.median_seconds", lambda work, device, repeats: (work(), 0.5)[1])
    assert matmul_rate(CPU, side=8) == 2 * 8**3 / 0.5
    assert copy_bandwidth(CPU, size=1000) == 2 * 1000 / 0.5
    assert matmul_dtype(CPU) in (torch.bfloat16, torch.float32)


def test_changes_reach_the_parameters() -> None:
    changed = params_with({"train.batch_size": 7, "norm": "layer"})
    assert (changed.train.batch_size, changed.norm) == (7, "layer")
    data = random_data(5, size=16)
    assert data.train.images.shape == (5, 16, 16, 3)
    assert len(data.val) == len(data.test) == 0


def test_values_that_an_earlier_run_left_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_repository(tmp_path / "copy"))
    committed = params_with({})
    left = Path("params.yaml").read_text(encoding="utf-8").replace("iterations: 300", "iterations: 40")
    Path("params.yaml").write_text(left, encoding="utf-8")
    assert params_with({}) == committed
    assert committed.lr_range.iterations == 300


def test_a_process_that_fails_is_an_error_with_its_last_words() -> None:
    with pytest.raises(UserError, match=r"benchmarks\.missing failed: .*No module named"):
        in_process("missing")


@pytest.mark.parametrize(
    "name", sorted({*cpu.MEASURES, *devices.MEASURES, *gpu.MEASURES, *peers.MEASURES, *scale.MEASURES})
)
def test_every_measure_is_a_function_of_the_settings(name: str) -> None:
    assert callable(run.find(name))


def test_a_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []
    failing = {"b"}

    def measure(name: str, settings: Settings) -> tuple[list[Row], str | None]:
        measured.append(name)
        if name == "interrupted" and "interrupted" in failing:
            raise KeyboardInterrupt
        return ([], "ValueError: no | memory\nat all") if name in failing else ([Row(name, 2, 1, "s", 3.0)], None)

    monkeypatch.setattr(run, "measure", measure)
    plan = dict.fromkeys(("a", "b", "interrupted", "c"), SMOKE)
    file = tmp_path / "r.json"

    failing.add("interrupted")
    with pytest.raises(KeyboardInterrupt):
        run.run(plan, file, again=False)
    assert [row["measure"] for row in read(file)["rows"]] == ["a"]  # written before the end

    failing.remove("interrupted")
    measured.clear()
    with pytest.raises(UserError, match="failed, see above: b"):
        run.run(plan, file, again=False)
    assert measured == ["b", "interrupted", "c"]  # what failed is tried again, what is there is kept
    assert "| `b` | | | | | failed: ValueError: no / memory at all |" in capsys.readouterr().out

    failing.clear()
    measured.clear()
    run.run(plan, file, again=False)
    assert measured == ["b"]
    assert [row["measure"] for row in read(file)["rows"]] == ["a", "b", "interrupted", "c"]

    measured.clear()
    run.run(plan, file, again=True)
    assert measured == list(plan)

    measured.clear()
    run.run(plan, tmp_path / "new.json", again=False, minutes=0)
    assert measured == []
    assert "not measured yet: a, b, interrupted, c" in capsys.readouterr().out


def test_other_code_settings_or_machines_are_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "r.json"
    Results(file, SMOKE).add("a", SMOKE, 1.0, [Row("a", 2, 1, "s", None)])
    assert Results(file, SMOKE).has("a", SMOKE)
    assert not Results(file, SMOKE).has("a", Settings(CPU, smoke=False, repeats=1))
    assert not Results(file, SMOKE).has("a", Settings(CPU, smoke=True, repeats=1, options={"path": "x"}))
    assert not Results(file, SMOKE).has("b", SMOKE)
    monkeypatch.setattr(results, "code_digest", lambda: "other")
    assert not Results(file, SMOKE).has("a", SMOKE)
    assert Results(file, SMOKE).rows  # they stay until they are replaced
    monkeypatch.setattr(results, "code_digest", code_digest)
    monkeypatch.setattr(results, "machine", lambda device: machine(device) | {"system": "another kernel"})
    assert Results(file, SMOKE).has("a", SMOKE)
    monkeypatch.setattr(results, "machine", lambda device: machine(device) | {"torch": "another version"})
    elsewhere = Results(file, SMOKE)
    assert (elsewhere.rows, elsewhere.has("a", SMOKE)) == ([], False)
    assert elsewhere.replaces is not None


def test_the_code_digest_follows_the_code_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_repository(tmp_path / "copy"))
    before = results.code_digest()
    assert results.commit().isalnum()
    Path("benchmarks/results/new.json").write_text("{}", encoding="utf-8")
    Path("README.md").write_text("new", encoding="utf-8")
    assert results.code_digest() == before
    assert results.commit().isalnum()
    Path("src/new.py").write_text("", encoding="utf-8")
    assert results.code_digest() != before
    assert results.commit().endswith("+changes")


def test_the_table_says_where_a_goal_is_missed_and_what_it_rests_on(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    kept = Results(file, SMOKE)
    rows = [
        Row("fast", 226_000.4, 12_000, "images/s", 9.0, note="with a note"),
        Row("slow", 1.0, 2.0, "images/s", 2.4),
        Row("heavy", 1.5, 1.0, "GB", 1.4, at_most=True),
        Row("told", 3.0, 2.0, "s", None),
    ]
    kept.add("all", SMOKE, 90.0, rows)
    lines = table(read(file)).splitlines()
    assert lines[2] == "| fast (with a note) | 226,000 images/s | 12,000 images/s | 18.8 | ≥ 9 | reached |"
    assert lines[3] == "| slow | 1 images/s | 2 images/s | 0.5 | ≥ 2.4 | **falls short** |"
    assert lines[4] == "| heavy | 1.5 GB | 1 GB | 1.5 | ≤ 1.4 | **falls short** |"
    assert lines[5] == "| told | 3 s | 2 s | 1.5 |  |  |"
    assert kept.machine["hardware"] in lines[7]
    assert f"PyTorch {torch.__version__.partition('+')[0]}" in lines[7]
    assert "1.5 minutes in all" in lines[7]
    assert "its numbers mean nothing" in lines[8]


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}", encoding="utf-8")
    for name in ("r.json", "missing.json"):
        with pytest.raises(UserError, match="not a result file"):
            read(tmp_path / name)


def test_a_place_in_a_document_holds_the_table_and_what_is_not_measured(tmp_path: Path) -> None:
    sets = document.DOCUMENTS[Path("docs/explanation/performance.md")]
    places = [f"<!-- results: {name} -->\nold\n<!-- end of results -->" for name in sets]
    text = "before\n" + "\nbetween\n".join(places) + "\nafter\n"
    Results(tmp_path / "cpu.json", SMOKE).add("training.step", SMOKE, 1.0, [Row("a", 2, 1, "s", None)])
    filled = document.fill(text, tmp_path, sets)
    assert filled.startswith("before\n<!-- results: cpu -->\n| measured |")
    assert filled.endswith("<!-- end of results -->\nafter\n")
    assert "old" not in filled
    assert "Not measured yet: `training.floor`" in filled
    assert document.fill(filled, tmp_path, sets) == filled
    with pytest.raises(UserError, match="no place for: cpu-avx2, devices-cpu, gpu, peers-cpu"):
        document.fill(places[0], tmp_path, sets)


@pytest.mark.parametrize(("name", "sets"), document.DOCUMENTS.items(), ids=str)
def test_a_document_shows_the_committed_results(name: Path, sets: dict[str, tuple[str, ...]]) -> None:
    text = name.read_text(encoding="utf-8")
    assert document.fill(text, RESULTS, sets) == text, "make it so with: python -m benchmarks.document"


@pytest.mark.parametrize(
    "name", ["training.floor", "training.augmented", "training.norms", "training.growth", "input.pipeline"]
)
def test_measures_run(name: str) -> None:
    rows = run.find(name)(SMOKE)
    assert rows
    assert all(row.ours > 0 and row.goal is not None for row in rows)


def test_devices_are_compared_in_powers_of_two_up_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((2, [2]), (3, [2, 3]), (6, [2, 4, 6]), (8, [2, 4, 8])):
        monkeypatch.setattr(devices, "cores", lambda there=there: there)
        assert devices.counts(CPU) == expected
    monkeypatch.setattr(devices, "cores", lambda: 1)
    with pytest.raises(UserError, match="this machine has 1 for cpu"):
        devices.counts(CPU)


@pytest.mark.scale
@pytest.mark.skipif(cores() < 2, reason="two devices of a CPU are two cores")
def test_two_devices_are_measured_against_one() -> None:
    (row,) = devices.layer_norm(SMOKE)
    assert row.ours > 0


def test_growth_is_against_the_smallest_number_and_goes_on_along_a_line() -> None:
    # from 10 to 1,000 runs 1 s becomes 100 s: 0.1 s a run, and 1 + 0.1 * 99,990 = 10,000 s for 100,000
    measured = [{"read": (seconds, "s"), "fewer": (2.0 - seconds / 100, "s")} for seconds in (1.0, 20.0, 100.0)]
    rows = {row.name: row for row in store.grown("x", [10, 100, 1000], measured)}
    assert [round(rows[f"x: read, {n} / 10"].ours, 6) for n in ("100 runs", "1,000 runs", "100,000 runs")] == [
        20,
        100,
        1e4,
    ]
    assert rows["x: read, 1,000 runs / 10"].ratio == 100
    assert rows["x: fewer, 100,000 runs / 10"].ours == 1.99  # what got faster by chance does not go below nothing
    assert "not measured" in rows["x: read, 100,000 runs / 10"].note


def test_what_was_not_measured_at_the_largest_number_goes_on_from_the_one_before() -> None:
    measured = [{"read": (1.0, "s")}, {"read": (10.0, "s")}, {}]
    rows = {row.name: row for row in store.grown("x", [10, 100, 1000], measured)}
    assert rows.keys() == {"x: read, 100 runs / 10", "x: read, 100,000 runs / 10"}
    assert rows["x: read, 100,000 runs / 10"].ours == pytest.approx(1e4)  # 0.1 s a run
    assert rows["x: read, 100,000 runs / 10"].note.endswith("through 10 and 100 runs")


@pytest.mark.parametrize(
    "name",
    [
        "large.decode",
        "large.read",
        *(pytest.param(name, marks=pytest.mark.scale) for name in ("store.local", "store.server", "experiments.cache")),
    ],
)
def test_measures_of_growth_run(name: str) -> None:
    rows = run.find(name)(SMOKE)
    assert rows
    assert all(row.ours > 0 and row.goal is None for row in rows)


def test_a_part_of_a_loader_goes_on_in_the_next_epoch() -> None:
    ours = session.Ours({"model.width": 4, "train.batch_size": 8}, torch.device("cpu"), images=20)
    part = session.Part(ours.loader, 5, iter(range(1, 9)))
    assert [len(labels) for _, labels in part] == [8, 8, 4, 8, 8]
    assert len(part) == 5
    assert part.images == 36


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to measure"):
        run.run({}, tmp_path / "r.json", again=False)


@pytest.mark.slow
def test_a_measure_runs_in_a_process() -> None:
    rows, failed = run.measure("seed_loop.epoch", SMOKE)
    assert failed is None
    assert (rows[0].unit, rows[0].goal) == ("images/s", 2.5)
    assert "64 images" in rows[0].note


@pytest.mark.parametrize(
    ("error", "reason"), [(UserError("a sentence"), "a sentence"), (KeyError("a\nb"), r"KeyError: 'a\nb'")]
)
def test_any_failure_of_a_measure_is_its_result(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(settings: Settings) -> list[Row]:
        assert settings == SMOKE
        raise error

    monkeypatch.setattr(run, "find", lambda name: failing)
    given = json.dumps({"device": "cpu", "smoke": True, "repeats": 1, "options": {}})
    run.main("a.b", given, str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == {"rows": [], "failed": reason}


def test_a_measure_that_kills_its_process_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    assert run.measure("seed_loop.epoch", SMOKE) == ([], "its process ended with code 1")


def test_peers_that_are_not_cloned_are_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert peers.plan(SMOKE) == {}
    peer_side.FOLDERS["seed"].mkdir(parents=True)
    capsys.readouterr()
    assert peers.plan(SMOKE) == {"peers.seed": SMOKE}
    said = capsys.readouterr().out
    assert "peers.kuangliu: not measured" in said
    assert "peers.airbench: not measured" in said
    assert "peers.seed" not in said


def test_all_peers_get_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    def side(module: str, name: str, images: int, *_: object, **__: object) -> float:
        used.append(images)
        return 1.0

    def ours(changes: object, rate: float, images: int, device: torch.device) -> float:
        used.append(images)
        return 2.0

    monkeypatch.setattr(peers, "in_process", side)
    monkeypatch.setattr(peers, "ours", ours)
    for name in peers.MEASURES:
        (row,) = run.find(name)(Settings(CPU, smoke=False, repeats=1))
        assert row.ratio in (1.0, 2.0)
    assert used == [peers.IMAGES["cpu"]] * 6


@pytest.mark.slow
def test_a_peers_own_loop_runs_on_our_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone in miniature, made for this test: what the adapter of pytorch-cifar expects of one."""
    monkeypatch.chdir(tmp_path)
    clone = peer_side.FOLDERS["kuangliu"]
    clone.mkdir(parents=True)
    (clone / "models.py").write_text(
        "from torch.nn import Flatten, Linear, Sequential\n"
        "def ResNet18():\n"
        "    return Sequential(Flatten(), Linear(3072, 10))\n",
        encoding="utf-8",
    )
    (clone / "main.py").write_text(
        "import torch, torchvision\n"
        "from torchvision.transforms import ToTensor\n"
        "from models import *\n"
        "trainset = torchvision.datasets.CIFAR10(root='./data', train=True, download=True, transform=ToTensor())\n"
        "trainloader = torch.utils.data.DataLoader(trainset, batch_size=16)\n"
        "net = SimpleDLA()\n"
        "def train(epoch):\n"
        "    for images, labels in trainloader:\n"
        "        assert net(images).shape == (len(labels), 10)\n"
        "    print('a bar')\n"
        "for epoch in range(200):\n"
        "    raise AssertionError('the loop over the epochs must not run')\n",
        encoding="utf-8",
    )
    environment = {"PYTHONPATH": str(REPOSITORY)}
    assert in_process("peer_side", "kuangliu", 32, "cpu", 16, environment=environment) > 0


def test_the_copy_for_experiments_is_a_repository_of_its_own(tmp_path: Path) -> None:
    copy = workspace.copy_repository(tmp_path / "copy")
    for name in (".git/HEAD", ".dvc/config", "dvc.yaml", "recipes/standard.yaml", "src/params.py", "own/README.md"):
        assert (copy / name).exists(), name
    assert not list(copy.rglob("__pycache__"))


def test_a_copy_that_is_there_already_is_brought_up_to_date(tmp_path: Path) -> None:
    copy = workspace.copy_repository(tmp_path / "copy")
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
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=copy, capture_output=True, text=True, check=True)
    assert changed.stdout == ""
    listed = subprocess.run(["git", "ls-files"], cwd=copy, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in kept if name in listed] == ["dvc.lock"]


def soaked(**values: Callable[[int], float]) -> list[soak.Sample]:
    """20 samples in which everything is 1, but for what `values` say of the experiment with this index."""
    names = [field.name for field in fields(soak.Sample)]
    return [soak.Sample(**{name: values.get(name, lambda i: 1)(i) for name in names}) for i in range(20)]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"memory_mib": lambda i: 60 if i == 0 else 90},  # the first experiment loads the code
        {"checkpoints": lambda i: min(i + 1, 3)},
        {"open_files": lambda i: 13 - 2 * (i % 2), "children": lambda i: i % 2},
        {"memory_mib": lambda i: 90 - 2 * i},
        {"store_mib": lambda i: 5 * i, "dvc_files": lambda i: 25 * i},  # what is told and not judged
    ],
)
def test_what_comes_and_goes_does_not_grow(values: dict[str, Callable[[int], float]]) -> None:
    assert soak.grown(soaked(**values)) == []


@pytest.mark.parametrize("name", soak.LIMITS)
def test_one_more_with_each_experiment_is_growth(name: str) -> None:
    samples = soaked(**{name: lambda i: i})
    assert soak.growth(samples, name) == pytest.approx(18)
    assert soak.grown(samples) == [f"{name} grows by 18.0 over 20 experiments; {soak.LIMITS[name]:g} is allowed"]
    assert f"| {name} | 0 | 1 | 19 | 18.0 | {soak.LIMITS[name]:g} |" in soak.table(samples)


def test_what_experiments_leave_behind_is_found(tmp_path: Path) -> None:
    root = workspace.copy_repository(tmp_path / "copy")
    assert soak.left_behind(root) == []
    assert soak.finished_experiments(root) == 0
    for name in ("metrics/.train.json.4711.json", ".mlflow.db.12.db", ".dvc/tmp/exps/tmpabc/params.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("", encoding="utf-8")
    with subprocess.Popen(["cat"], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()  # it runs
        found = soak.left_behind(root)
    assert found[0] == f"process {process.pid} still runs: cat"
    assert found[1] == "the copy .dvc/tmp/exps/tmpabc is left"
    left = ("metrics/.train.json.4711.json", ".mlflow.db.12.db")
    assert sorted(found[2:]) == sorted(f"the file {name} is left" for name in left)
