"""One MLflow server and one DVC remote for many machines, by the code blocks of docs/scale/shared-server.md."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from src import artifacts, record, tracking
from src.params import parse_params
from src.yaml_files import read_yaml
from tests.conftest import REPOSITORY
from tests.pipeline.workspace import IDENTITY, Workspace, stages_run
from tests.run_files import ROWS, assert_whole, committed_params, enter_run, sync
from tests.scale.services import Services, documented, postgresql_path

pytest.importorskip("boto3", reason="make test-scale has it")
pytest.importorskip("moto", reason="make test-scale has it")
pytest.importorskip("psycopg2", reason="make test-scale has it")

from mlflow import pyfunc
from mlflow.artifacts import download_artifacts

pytestmark = pytest.mark.scale
CLIENTS = 8


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    if not postgresql_path():
        pytest.skip("PostgreSQL is missing: make test-scale installs it")
    started = Services()
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a finished run; this process waits for the server as long as it takes."""
    (tmp_path / "root").mkdir()
    enter_run(tmp_path / "root", monkeypatch)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    return tmp_path / "root"


def fetch(services: Services, folder: Path) -> Callable[[str, str], Path]:
    """How `assert_whole` gets at files: from the server."""

    def place(owner: str, uri: str) -> Path:
        target = folder / owner
        target.mkdir()
        return Path(download_artifacts(artifact_uri=uri, dst_path=str(target), tracking_uri=services.uri))

    return place


def test_eight_clients_at_once_and_a_server_that_is_killed_in_the_middle(
    services: Services, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", services.uri)
    fork = multiprocessing.get_context("fork")
    together, begun, interrupted = fork.Barrier(CLIENTS), fork.Semaphore(0), fork.Value("i", 0)

    def client(seed: int) -> None:
        params = committed_params(seed=seed)
        together.wait()
        with tracking.Mirror(params, "k") as mirror:
            mirror.upload("lr_range")
            for row in ROWS:
                mirror.epoch(row)
                begun.release()
            mirror.upload("train")
        with interrupted.get_lock():
            interrupted.value += not mirror.complete
        while not sync(params).complete:  # as a person calls `commands.sync` until the server is back
            time.sleep(2)

    processes = [fork.Process(target=client, args=(seed,)) for seed in range(CLIENTS)]
    for process in processes:
        process.start()
    for _ in range(CLIENTS):
        assert begun.acquire(timeout=1200)
    services.kill_mlflow()
    services.start_mlflow()
    for process in processes:
        process.join(1200)
    assert [process.exitcode for process in processes] == [0] * CLIENTS
    assert interrupted.value > 0
    for seed in range(CLIENTS):
        (tmp_path / str(seed)).mkdir()
        assert_whole(services.client(), fetch(services, tmp_path / str(seed)), committed_params(seed=seed), root)


def test_a_store_moves_to_the_server_though_the_command_is_killed(
    services: Services, root: Path, tmp_path: Path
) -> None:
    seeds = range(100, 103)
    for seed in seeds:
        assert sync(committed_params(seed=seed)).complete
    tracking.log_comparison("k", "by norm", {"by": "norm"}, [artifacts.REPORT])
    command = [sys.executable, "-m", "commands.sync", "--all", "--to", services.uri]
    (root / "commands").symlink_to(REPOSITORY / "commands")
    (root / "src").rename(root / "only_what_a_model_carries")
    (root / "src").symlink_to(REPOSITORY / "src")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "normlens/" in line:
                break
        time.sleep(0.5)
        process.kill()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "normlens/" in done.stdout
    for seed in seeds:
        (tmp_path / str(seed)).mkdir()
        assert_whole(services.client(), fetch(services, tmp_path / str(seed)), committed_params(seed=seed), root)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "0 runs copied, 0 completed, 4 already there" in done.stdout

    client = services.client()
    place = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
    key = record.run_key(committed_params(seed=100), "k")
    (run,) = client.search_runs([place], f"tags.run_key = '{key}'")
    (output,) = run.outputs.model_outputs
    (tmp_path / "model").mkdir()
    place_of_model = client.get_logged_model(output.model_id).artifact_location
    model = pyfunc.load_model(str(fetch(services, tmp_path / "model")(output.model_id, place_of_model)))
    answer = model.predict(np.zeros((2, 16, 16, 3), np.uint8))
    assert len(answer) == 2
    assert model.metadata.run_id == run.info.run_id
    assert [
        r.data.tags["by"]
        for r in client.search_runs([client.get_experiment_by_name(tracking.COMPARISONS).experiment_id])
    ] == ["norm"]


def test_a_second_machine_has_everything_and_computes_nothing(services: Services, tmp_path: Path) -> None:
    shared = services.s3 | {"MLFLOW_TRACKING_URI": services.uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
    first = Workspace.create(tmp_path / "first" / "normlens")
    first.ok("git", "init", "-q", "--bare", "-b", "main", str(tmp_path / "git"))
    first.ok("git", "branch", "-M", "main")
    first.ok("git", "remote", "add", "origin", str(tmp_path / "git"))
    first.ok("git", "push", "-qu", "origin", "main")
    first.ok("dvc", "repro", **shared)
    first.ok("bash", "-euc", documented("push"), **shared, **IDENTITY)
    computed = first.digests()

    second = Workspace(tmp_path / "second" / "normlens")
    second.root.parent.mkdir()
    first.ok("git", "clone", "-q", str(tmp_path / "git"), str(second.root))
    output = second.ok("bash", "-euc", documented("pull"), **shared)
    assert stages_run(output) == [], output
    assert "is complete" in output
    assert "MLflow run" in output
    assert list((second.root / "reports/predict").iterdir())
    assert {name: digest for name, digest in second.digests().items() if name in computed} == computed

    params = parse_params(read_yaml(second.root / "params.yaml"))
    key = artifacts.read_json(second.root / "models/model.json")["model_key"]
    (tmp_path / "files").mkdir()
    place = fetch(services, tmp_path / "files")
    assert_whole(services.client(), place, params, second.root, key, params.train.epochs)  # there is one run

    second.ok("python", "-m", "commands.sync")  # a store that does not know it: rebuilt from the files
    (run,) = second.runs()
    assert run.data.params == record.flat_params(params)
    assert run.data.tags["stages"].split(",") == list(record.STAGES)
