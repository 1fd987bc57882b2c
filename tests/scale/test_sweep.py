"""`python -m commands.sweep` by what it leaves: a grid on three Ray machines, one of them lost; a search here."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import yaml
from mlflow.entities import Run

from src.sweep.ledger import Ledger, Record
from tests.pipeline.workspace import Workspace, stages_run

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's name for 127.0.0.1 alone
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_health_check_timeout_ms"] = "120000"  # noqa: SIM112  # else a machine short of CPU is taken for lost
pytest.importorskip("ray", reason="make test-scale has it")

from ray.cluster_utils import Cluster

from src.errors import UserError
from src.sweep.trial import check_reachable

pytestmark = [pytest.mark.scale, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, of its processes
EPOCHS = 12
LONGEST = 3600  # seconds that the machine may be busy with something else
LONG = {"train.epochs": EPOCHS, "train.batch_size": 8}
GRID = {"norm": ["batch", "layer", "group"], "seed": [0, 1, 2, 3]}
MACHINE = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20, "include_dashboard": False}
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A workspace whose commit is on a Git remote, a DVC remote, and the storage that all machines share."""

    workspace: Workspace
    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "Place":
        workspace = Workspace.create(folder / "workspace")
        workspace.ok("git", "init", "-q", "--bare", str(folder / "git"))
        workspace.ok("git", "remote", "add", "origin", str(folder / "git"))
        workspace.ok("git", "push", "-q", "origin", "HEAD:main")
        workspace.ok("dvc", "remote", "add", "--local", "storage", str(folder / "dvc"))
        return cls(workspace, folder)

    def spec(self, **content: Any) -> str:
        rest = {
            "resources": {"cpu": 1, "gpu": 0},
            "storage": str(self.folder / "storage"),
            "remotes": {"git": "origin", "dvc": "storage"},
        }
        file = self.folder / "spec.yaml"
        file.write_text(yaml.safe_dump(content | rest))
        return str(file)

    def sweep(self, spec: str, **environment: str) -> str:
        """Run the command to its end, which must be a good one; what it printed."""
        log = self.folder / "sweep.log"
        process = self.workspace.start(log, "python", "-m", "commands.sweep", spec, **environment)
        assert process.wait(LONGEST) == 0, log.read_text()
        return log.read_text()

    @property
    def ledger(self) -> Ledger:
        (folder,) = (self.folder / "storage").glob("*-*")
        return Ledger(folder)

    def records(self) -> dict[str, Record]:
        return self.ledger.records() if (self.folder / "storage").exists() else {}

    def experiments(self) -> set[str]:
        """The names of the experiments on the Git remote."""
        refs = self.workspace.ok("git", "ls-remote", "origin", "refs/exps/*").split()[1::2]
        return {ref.rpartition("/")[2] for ref in refs}

    def runs(self) -> tuple[Run, dict[str, Run]]:
        """The sweep's MLflow run, and those of its trials by name; there is none beside them, and none twice."""
        (parent,) = [run for run in self.workspace.runs() if "sweep_key" in run.data.tags]
        trials = [run for run in self.workspace.runs() if run.info.run_id != parent.info.run_id]
        assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
        assert len({run.info.run_name for run in trials}) == len(trials)
        return parent, {run.info.run_name: run for run in trials}

    def epochs(self, run: Run) -> list[int]:
        points = self.workspace.store().get_metric_history(run.info.run_id, "val/accuracy")
        return sorted(point.step for point in points)

    def trainers(self) -> list[psutil.Process]:
        """The processes of trials: DVC, its stages and what they started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("NORMLENS_CHECKPOINTS", "").startswith(str(self.folder)):
                    found.append(process)
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place.create(tmp_path)
    yield made
    for process in [*made.workspace.processes(), *made.trainers()]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three machines with a core each, and one that only governs them."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **MACHINE})
    for _ in range(3):
        made.add_node(num_cpus=1, **MACHINE)
    yield made
    made.shutdown()


def wait_for(condition: Callable[[], T | None], what: str, process: subprocess.Popen[bytes], log: Path) -> T:
    """What `condition` returns as soon as that is something, while `process` lives."""
    deadline = time.monotonic() + LONGEST
    while not (value := condition()):
        assert process.poll() is None, f"the sweep has ended before this: {what}\n{log.read_text()}"
        assert time.monotonic() < deadline, f"not in time: {what}\n{log.read_text()}"
        time.sleep(0.1)
    return value


def finished(records: dict[str, Record]) -> set[str]:
    return {name for name, record in records.items() if record["status"] == "finished"}


def test_twelve_trials_on_three_machines_one_of_which_is_lost(place: Place, cluster: Cluster) -> None:
    spec = place.spec(name="norms", grid=GRID, set=LONG)
    command = ("python", "-m", "commands.sweep", spec)
    first, second = place.folder / "first.log", place.folder / "second.log"

    sweep = place.workspace.start(first, *command, RAY_ADDRESS=cluster.address)
    wait_for(lambda: finished(place.records()), "a trial has finished", sweep, first)
    os.killpg(sweep.pid, signal.SIGKILL)  # whoever typed it is gone, and what trains ends too
    sweep.wait()
    deadline = time.monotonic() + 120
    while left := place.trainers():
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    before = place.records()

    sweep = place.workspace.start(second, *command, RAY_ADDRESS=cluster.address)

    def half_trained() -> str | None:
        for name, record in place.records().items():
            epoch = place.ledger.last_epoch(name).get("epoch") or 0
            if record["status"] == "running" and record != before.get(name) and 2 <= epoch <= EPOCHS - 4:
                return name
        return None

    victim = wait_for(half_trained, "a trial is half trained", sweep, second)
    lost = place.records()[victim]["node"]
    (machine,) = [node for node in cluster.worker_nodes if node.node_id == lost]
    there = [p for p in place.trainers() if p.environ()["NORMLENS_CHECKPOINTS"].endswith(victim)]
    for process in there:  # a machine that is lost says nothing more, to MLflow neither
        process.suspend()
    cluster.remove_node(machine, allow_graceful=False)
    for process in there:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert sweep.wait(LONGEST) == 0, second.read_text()

    records = place.records()
    assert len(records) == 12
    assert {(record["point"]["norm"], record["point"]["seed"]) for record in records.values()} == {
        (norm, seed) for norm in GRID["norm"] for seed in GRID["seed"]
    }
    assert finished(records) == records.keys()
    assert {name: record for name, record in records.items() if name in finished(before)} == {
        name: before[name] for name in finished(before)
    }, "what had finished was run again"
    assert records[victim]["node"] != lost
    assert re.search(r"resuming after epoch ([2-9]|10) of 12", place.ledger.log(victim).read_text())
    assert f"lost     {victim}" in second.read_text()
    assert "raylet" not in second.read_text()
    assert place.experiments() == records.keys()
    parent, runs = place.runs()
    assert runs.keys() == records.keys()
    for name, run in runs.items():
        assert run.info.status == "FINISHED", name
        assert place.epochs(run) == list(range(1, EPOCHS + 1)), name
        assert run.data.metrics["test/accuracy"] == records[name]["test_accuracy"]
        assert {key: str(value) for key, value in records[name]["point"].items()}.items() <= run.data.params.items()
    assert parent.info.status == "FINISHED"
    assert (parent.data.tags["finished"], parent.data.tags["failed"]) == ("12", "0")
    assert place.trainers() == []
    assert not any(place.ledger.checkpoints("").iterdir()), "checkpoints of finished trials are left"

    assert not re.search("^running", place.sweep(spec, RAY_ADDRESS=cluster.address), re.MULTILINE)
    assert place.records() == records

    assert_reproducible(place, victim)


def assert_reproducible(place: Place, name: str) -> None:
    """In a clone of the Git remote, an experiment comes with all its files, and training gives the same weights."""
    subprocess.run(["git", "clone", "-q", "-b", "main", place.folder / "git", place.folder / "clone"], check=True)
    clone = Workspace(place.folder / "clone")
    clone.ok("dvc", "remote", "add", "--local", "storage", str(place.folder / "dvc"))
    clone.ok("dvc", "exp", "pull", "origin", name, "--remote", "storage")
    clone.ok("dvc", "exp", "apply", name)
    assert {key: clone.params()[key] for key in LONG} == LONG
    assert stages_run(clone.ok("dvc", "repro")) == []
    weights = clone.root / "models/model.safetensors"
    there = md5(weights.read_bytes()).hexdigest()
    assert stages_run(clone.ok("dvc", "repro", "--force", "--single-item", "train")) == ["train"]
    assert md5(weights.read_bytes()).hexdigest() == there


def test_a_search_stops_bad_trials_early_and_is_extended(place: Place) -> None:
    """On this machine. With this seed the search begins with two rates that learn; three follow that do not."""
    search = {
        "name": "rates",
        "search": {"lr": {"choice": [1e-9, 0.05]}, "seed": {"int": [0, 1000]}},
        "seed": 9,
        "asha": {"grace": 3, "reduction": 2},
        "set": {"data.shapes.train": 1200, "train.epochs": 5, "train.batch_size": 16},
    }
    assert "finished" in place.sweep(place.spec(**search, trials=5))
    before = place.records()
    assert len(before) == 5

    assert "finished" in place.sweep(place.spec(**search, trials=7))
    records = place.records()
    assert len(records) == 7
    assert before.items() <= records.items()
    stopped = records.keys() - finished(records)
    bad = {name for name, record in records.items() if record["point"]["lr"] == 1e-9}
    assert len(bad) >= 3
    assert bad <= stopped  # and perhaps one that learns, as the worse of two
    assert place.experiments() == finished(records)
    parent, runs = place.runs()
    assert runs.keys() == records.keys()
    for name, run in runs.items():
        assert run.info.status == ("KILLED" if name in stopped else "FINISHED")
        assert place.epochs(run) == list(range(1, records[name]["epoch"] + 1))
        if name in stopped:
            assert 3 <= records[name]["epoch"] < 5
            assert run.data.tags["stopped_epoch"] == str(records[name]["epoch"])
    assert parent.data.tags["stopped"] == str(len(stopped))
    assert place.trainers() == []


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:9", "at RAY_ADDRESS=127.0.0.1:9: .*refused"),
        ("ray://127.0.0.1:9", "at RAY_ADDRESS=ray://127.0.0.1:9: .*refused"),
        ("head", "RAY_ADDRESS=head is not the address of a Ray cluster"),
    ],
)
def test_a_cluster_that_is_not_there_is_a_sentence_at_once(address: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_reachable(address)
