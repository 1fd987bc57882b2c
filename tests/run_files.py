"""The files of a finished run, small and made in a moment, and what stages do with them, to test the MLflow mirror."""

import math
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import matplotlib.figure
import pytest
import torch
from mlflow.entities import ViewType

from src import artifacts, record, results, tracking
from src.model.resnet import build
from src.model.saved import Description, save_model
from src.params import Params, parse_params
from src.tracking.store import unsynced
from src.yaml_files import read_yaml
from tests.conftest import PARAMS_YAML, REPOSITORY
from tests.map_measures import measures_of_maps

ROWS = [
    {
        "epoch": epoch, "train_loss": 2.0 / epoch, "train_accuracy": 0.1 * epoch, "val_loss": 2.1 / epoch,
        "val_accuracy": 0.09 * epoch, "lr": 0.1, "images_per_second": 100.0, "seconds": 3.0, "cpu_percent": 150.0,
        "memory_gib": 1.0, "gpu_memory_gib": "",
    }
    for epoch in (1, 2, 3)
]  # fmt: skip
CARD = "# A model\n\n![Curves](../figures/report/figure.png)\n\n## Limits\n\n- some\n"


def committed_params(**changes: object) -> Params:
    """The parameters of params.yaml, but for `changes`: another seed is another run."""
    return parse_params(read_yaml(PARAMS_YAML) | changes)


def enter_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `root` this process's workspace, with what the stages of a finished run leave and a real small model."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("DVC_EXP_NAME", "tiny-test")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (root / "src").mkdir()
    shutil.copy(
        REPOSITORY / "src/served_model.py", root / "src"
    )  # of the sources, which a model carries, one is enough
    metrics = artifacts.METRICS
    artifacts.write_text(artifacts.PARAMS, PARAMS_YAML.read_text())
    data = {
        "source": "shapes", "digest": "d" * 64, "classes": 3, "size": 16, "share": 1.0, "train": 9, "val": 3, "test": 3,
        "unreadable": 0, "layout": "", "counts": [{"class": name, "train": 3, "val": 1, "test": 1} for name in "abc"],
        "left_out": [], "notes": [],
        "duplicates": {"train_test": 0, "train_val": 0, "val_test": 0, "two_labels": 0, "examples": []},
    }  # fmt: skip
    artifacts.write_json(metrics / "data.json", data)
    artifacts.write_csv(metrics / "lr_range.csv", [{"lr": 0.1 * i, "loss": 2.0, "smoothed": 2.0} for i in (1, 2)])
    suggestions = {"valley": 0.1, "steepest": 0.1, "slide": 0.2, "minimum": 0.02}
    swept = {"suggestions": suggestions, "suggestion": "valley", "lr": 0.1, "last_lr": 0.2, "iterations": 2}
    artifacts.write_json(metrics / "lr_range.json", swept | {"seconds": 1.0})
    artifacts.write_json(artifacts.LR, {"lr": 0.1})
    artifacts.write_csv(metrics / "history.csv", ROWS)
    kept = {"val_accuracy": 0.25, "val_loss": 0.75}  # not those of the last epoch
    trained = {"train_loss": 0.7, "train_accuracy": 0.3, **kept, "epochs": 3, "best_epoch": 3, "seconds": 9.0}
    trained |= {"images_per_second": 100.0, "parameters": 1000, "lr": 0.1}
    artifacts.write_json(metrics / "train.json", trained)
    results.Evaluation(
        accuracy=0.5, accuracy_low=0.2, accuracy_high=0.8, balanced_accuracy=0.45, macro_f1=0.4, top5=1.0, loss=1.0,
        ece=0.1, images=3, wrong=1, images_per_second=10.0,
    ).write()  # fmt: skip
    measures_of_maps().write()
    mistake = results.Prediction(index=0, true="a", predicted="b", confidence=0.5)
    results.Prediction.write_all([mistake])
    results.Prediction.write_all([mistake], results.MISCLASSIFIED)
    results.ClassScores.write_all([results.ClassScores(name="a", precision=0.5, recall=0.5, f1=0.5, images=1)])
    artifacts.write_text(results.MODEL_SUMMARY, "ResNet18")
    for stage in record.STAGES:
        (artifacts.FIGURES / stage).mkdir(parents=True)
        matplotlib.figure.Figure(figsize=(1, 1)).savefig(artifacts.FIGURES / stage / "figure.png")
    artifacts.write_text(artifacts.REPORT, "<html></html>")
    artifacts.write_text(artifacts.CARD, CARD)
    about = Description(
        norm="layer", width=4, strides=[2, 2, 2, 2], weight_standardization=False, classes=["a", "b", "c"],
        size=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), model_key="k", seed=0, lr=0.1, epochs=3, epoch=3,
        device="cpu", precision="fp32", hardware="test", source="shapes", data_digest="d" * 64,
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(build("layer", 4, [2, 2, 2, 2], 3), about)


def make_store(path: Path) -> Path:
    """A store of MLflow's, a SQLite file, without our experiment."""
    with unsynced():
        tracking.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def train(params: Params) -> tracking.Mirror:
    """What the stage `train` asks of the mirror."""
    with tracking.Mirror(params, "k") as mirror:
        mirror.upload("lr_range")
        for row in ROWS:
            mirror.epoch(row)
        mirror.upload("train")
    return mirror


def sync(params: Params) -> tracking.Mirror:
    """What `commands.sync` and the stage `report` ask of the mirror."""
    with tracking.Mirror(params, "k", patience=math.inf) as mirror:
        mirror.upload(*record.STAGES)
    return mirror


def assert_complete(store: Path, params: Params, root: Path, model_key: str = "k", epochs: int = len(ROWS)) -> None:
    """The store in the folder `store` has one run of `params`, with all that the files in `root` say, nothing twice."""

    def place(owner: str, uri: str) -> Path:
        (found,) = store.glob(f"*artifacts/**/{owner}/artifacts")
        return found

    client = tracking.MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    assert_whole(client, place, params, root, model_key, epochs)


def assert_whole(
    client: tracking.MlflowClient,
    place: Callable[[str, str], Path],
    params: Params,
    root: Path,
    model_key: str = "k",
    epochs: int = len(ROWS),
) -> None:
    """`assert_complete` of any store; `place` finds the files of a run or model by its id and their URI."""
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs(
        [experiment.experiment_id], f"tags.run_key = '{record.run_key(params, model_key)}'", ViewType.ALL
    )
    run_id = run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["stages"].split(",") == list(record.STAGES)
    assert "Test accuracy" in run.data.tags["mlflow.note.content"]
    assert run.data.params == record.flat_params(params)
    assert len(run.inputs.dataset_inputs) == 1
    assert {"train/loss", "val/accuracy", "lr_range/loss", "test/accuracy", "gradcam/road"} <= run.data.metrics.keys()
    for name in run.data.metrics:
        steps = [point.step for point in client.get_metric_history(run_id, name)]
        assert len(steps) == len(set(steps)), name
        if name.startswith(("train/", "val/")):
            assert sorted(steps) == list(range(1, epochs + 1)), name

    files = place(run_id, run.info.artifact_uri)
    written = [f for folder in ("figures", "metrics") for f in (root / folder).rglob("*") if f.is_file()]
    written += [root / "models/model.json", root / "params.yaml"]
    written += [root / "reports/run.html", root / "reports/model_card.md"]
    for file in written:
        if file.name not in ("README.md", ".gitignore"):
            assert (files / file.relative_to(root)).read_bytes() == file.read_bytes(), file

    (logged,) = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{run_id}'")
    assert logged.status == "READY"
    assert [output.model_id for output in run.outputs.model_outputs] == [logged.model_id]
    files = place(logged.model_id, logged.artifact_location)
    assert {"MLmodel", "served_model.py", "model_card.md"} <= {file.name for file in files.iterdir()}
    linked = record.FIGURE.findall((root / "reports/model_card.md").read_text())
    assert linked
    for name in linked:
        assert (files / name).read_bytes() == (root / name).read_bytes()
    assert (files / "artifacts/model.safetensors").read_bytes() == (root / "models/model.safetensors").read_bytes()


def exit_code(work: Callable[[], object]) -> int:
    """Do `work` in a child of this process; its exit code, or minus the signal that ended it.

    A stage is a process of its own, with its own connections to a store; a fork has its imports, which take seconds.
    """
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode
