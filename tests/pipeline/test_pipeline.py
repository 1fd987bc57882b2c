"""The whole pipeline by the commands that a person types, on a tiny run: real DVC, real MLflow store, real training."""

import csv
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow.entities import Run
from PIL import Image

from src import record
from src.errors import UserError
from src.params import parse_params
from src.wording import percent
from stages import check
from tests.pipeline.workspace import IDENTITY, TINY, UNDO, Workspace, failure, stages_run
from tests.unit.test_dvc_graph import LEAVES, READERS, STAGES, expected_readers, outs, within

OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
QUICK = {key: TINY[key] for key in TINY if key not in ("precision", "train.workers")}


def expected_artifacts(workspace: Workspace) -> set[str]:
    """What a complete run holds: every figure, table, report and parameter file."""
    tables = {f"metrics/{name}" for name in ("data.json", "lr_range.csv", "lr_range.json", "history.csv", "train.json")}
    tables |= {f"metrics/{name}" for name in ("evaluate.json", "per_class.csv", "predictions.csv")}
    tables |= {f"metrics/{name}" for name in ("gradcam.json", "misclassified.csv")}
    figures = set(workspace.digests(["figures"]))
    assert {figure.split("/")[1] for figure in figures} == {"prepare", "lr_range", "evaluate", "gradcam", "report"}
    return tables | figures | {"models/model.json", "reports/run.html", "reports/model_card.md", "params.yaml"}


def assert_complete(workspace: Workspace, run: Run) -> None:
    """The run is finished and holds all that its workspace's files say, each epoch once."""
    assert run.info.status == "FINISHED"
    found = workspace.artifacts(run)
    missing = expected_artifacts(workspace) - found.keys()
    assert not missing, missing
    assert found["reports/run.html"].stat().st_size > 50_000
    assert run.outputs is not None
    assert run.outputs.model_outputs
    client = workspace.store()
    for metric in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "train/lr"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, metric)]
        assert sorted(steps) == [1, 2], metric
    assert run.data.params.keys() == set(LEAVES)
    assert run.data.tags["stages"].split(",") == list(record.STAGES)
    assert "Test accuracy" in run.data.tags["mlflow.note.content"]
    assert 0 <= run.data.metrics["test/accuracy"] <= 1
    assert len(run.inputs.dataset_inputs) == 1


def test_repro_makes_everything_that_it_declares(finished: Workspace) -> None:
    for stage in STAGES:
        for out in outs(stage):
            assert (finished.root / out).exists(), out
    for file in (finished.root / "metrics").glob("*.json"):
        assert json.loads(file.read_text())
    for file in (finished.root / "metrics").glob("*.csv"):
        with file.open(newline="") as lines:
            assert list(csv.DictReader(lines)), file
    data = json.loads((finished.root / "metrics/data.json").read_text())
    assert (data["train"], data["val"], data["test"], data["classes"]) == (180, 20, 100, 10)


def test_repro_leaves_one_complete_mlflow_run(finished: Workspace) -> None:
    (run,) = finished.runs()
    assert_complete(finished, run)
    assert run.info.run_name == "batch-seed0"
    assert run.data.params["norm"] == "batch"
    accuracy = json.loads((finished.root / "metrics/evaluate.json").read_text())["accuracy"]
    assert run.data.metrics["test/accuracy"] == accuracy


def test_the_report_needs_nothing_from_outside(finished: Workspace) -> None:
    page = (finished.root / "reports/run.html").read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?(?:\w+:)?//[^\"'>]*", page)
    assert not re.findall(r"url\(\s*[\"']?(?!data:|#)[^)]*|@import|<script[^>]*\ssrc|<link[^>]*\shref", page)
    classes = json.loads((finished.root / "models/model.json").read_text())["classes"]
    assert [name for name in classes if name not in page] == []
    texts = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(texts) == page.count("<img") == len(set(texts))  # each figure has a text of its own
    assert all(len(text) > 40 for text in texts)


def test_a_second_repro_runs_nothing(finished: Workspace) -> None:
    before = finished.digests()
    output = finished.ok("dvc", "repro")
    assert stages_run(output) == [], output
    assert "Data and pipelines are up to date." in output
    assert finished.digests() == before
    assert len(finished.runs()) == 1


def test_dvc_shows_metrics_and_plots(finished: Workspace, tmp_path: Path) -> None:
    metrics = json.loads(finished.ok("dvc", "metrics", "show", "--json"))
    assert {"metrics/train.json", "metrics/evaluate.json"} <= metrics[""]["data"].keys()
    output = finished.ok("dvc", "plots", "show", "--out", str(tmp_path))
    assert "failed" not in output.lower()
    page = (tmp_path / "index.html").read_text()
    for title in ("Loss", "Accuracy", "Confusion matrix", "train_loss", "val_loss"):
        assert title in page


def test_another_norm_reruns_only_what_depends_on_it(finished: Workspace, copy: Workspace) -> None:
    output = copy.ok("dvc", "exp", "run", "-S", "norm=layer", **IDENTITY)
    assert stages_run(output) == ["check", "lr_range", "train", "evaluate", "gradcam", "report"], output
    named = re.search(r"Ran experiment\(s\): (\S+)", output)
    assert named, output
    assert copy.ok("git", "status", "--short", "params.yaml") == " M params.yaml\n"
    (run,) = copy.runs()
    assert_complete(copy, run)
    assert run.info.run_name == named[1]
    assert run.data.params["norm"] == "layer"
    assert run.data.params["seed"] == "0"

    output = copy.ok("dvc", "exp", "run", "-S", "norm=batch", **IDENTITY)
    assert stages_run(output) == [], output  # all of it is in DVC's cache
    assert copy.digests() == finished.digests()
    assert len(copy.runs()) == 1


@pytest.mark.slow
def test_a_reworded_comment_trains_nothing(finished: Workspace, copy: Workspace) -> None:
    """DVC runs the stages again, as bytes have changed, but `train` finds its model finished."""
    loop = copy.root / "src/training/loop.py"
    text = loop.read_text()
    module, rest = text.split('"""', 2)[1:]
    loop.write_text(f'"""Reworded. {module}"""  # and a comment\n{rest}')
    output = copy.ok("dvc", "repro")
    assert stages_run(output) == ["lr_range", "train", "report"], output  # the report shows how long the sweep took
    assert "resuming after epoch 2 of 2" in output
    assert not re.search(r"^ +\d+ +\d+\.\d{4}", output, re.MULTILINE), output  # no line of an epoch
    assert copy.digests(["models"]) == finished.digests(["models"])

    loop.write_text(f"{text}\n\nADDED = 1\n")
    output = copy.ok("python", "-m", "stages.train")
    assert re.search(r"^ +1 +\d+\.\d{4}", output, re.MULTILINE), output


def test_a_wrong_norm_ends_in_check_and_touches_nothing(copy: Workspace) -> None:
    before = copy.digests()
    done = copy.run("dvc", "exp", "run", "-S", "norm=bacth", **IDENTITY)
    output = done.stdout + done.stderr
    assert done.returncode != 0, failure(done)
    assert "norm is 'bacth' (did you mean batch?). Allowed: batch, layer" in output
    assert UNDO in output
    assert "-S norm=batch" in output
    assert "Traceback" not in output
    assert stages_run(output) == ["check"]
    assert {**copy.digests(), "data/checked": before["data/checked"]} == before  # DVC takes the stage's own out away
    copy.undo()
    assert stages_run(copy.ok("dvc", "repro")) == []
    assert copy.digests() == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"augment": [{"name": "HorizontalFlop", "p": 0.5}]}, ["HorizontalFlop", "did you mean HorizontalFlip"]),
        ({"augment": [{"name": "HorizontalFlip", "probability": 0.5}]}, ["HorizontalFlip", "probability"]),
        ({"augment": [{"name": "RandomCrop", "height": 8, "width": 8}]}, ["augment", "(8, 8, 3)"]),
        ({"gradcam.layers": ["layer5"]}, ["gradcam.layers", "layer5", "layer4"]),
        ({"gradcam.layers": ["layer4", "layer2[7]"]}, ["gradcam.layers", "layer2[7]"]),
        ({"gradcam.layers": ["linear"]}, ["gradcam.layers", "linear", "no map"]),
        ({"data.path": "nowhere"}, ["data.path", "nowhere does not exist"]),
        ({"train.batch_size": 1, "data.size": 16, "model.strides": [2, 2, 2, 2]}, ["model.strides", "batch_size is 1"]),
        ({"norm": "instance", "data.size": 16, "model.strides": [2, 2, 2, 2]}, ["model.strides", "instance"]),
        pytest.param(
            {"device": "cuda"},
            ["device", "CUDA"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA"),
        ),
    ],
)
def test_check_refuses_what_the_schema_cannot_know(
    finished: Workspace, values: dict[str, Any], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "params.yaml").write_bytes((finished.root / "params.yaml").read_bytes())
    workspace.set_params(values)
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        check.main(parse_params(yaml.safe_load((tmp_path / "params.yaml").read_text())))
    for word in [*words, UNDO]:
        assert word in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_small_number_in_scientific_notation_is_a_number(copy: Workspace) -> None:
    assert stages_run(copy.ok("dvc", "exp", "run", "-S", "train.weight_decay=1e-5", "check", **IDENTITY)) == ["check"]
    assert parse_params(yaml.safe_load((copy.root / "params.yaml").read_text())).train.weight_decay == 1e-5


def test_parameters_make_the_stages_stale_that_the_table_says(copy: Workspace) -> None:
    """One leaf of each group of the table, by DVC itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DVC's own
        from dvc.repo import Repo

        committed = copy.params()
        for leaf in {min(leaf for leaf in LEAVES if within(leaf, key)) for key in READERS}:
            copy.set_params({leaf: another(committed[leaf])})
            with Repo(str(copy.root)) as repo:
                stale = {name.rpartition(":")[2] for name in repo.status()}
            assert stale == expected_readers(leaf), leaf
            copy.set_params({leaf: committed[leaf]})
        with Repo(str(copy.root)) as repo:
            assert repo.status() == {}


def another(value: Any) -> Any:
    """A value of the same kind that is not `value`."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}x"
    return [*value, 1] if isinstance(value, list) else value + 1


def test_without_network_the_download_says_what_to_do(copy: Workspace) -> None:
    before = copy.digests()
    done = copy.run("dvc", "exp", "run", "-S", "data.source=cifar10", **IDENTITY, **OFFLINE)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert stages_run(output) == ["check", "download"], failure(done)
    assert "Traceback" not in output
    assert "-S data.path=" in output
    assert "python -m recipes quick" in output
    raw = {name: digest for name, digest in before.items() if name.startswith("data/raw")}
    assert {**copy.digests(), **raw} == before
    copy.undo()
    copy.ok("dvc", "checkout")
    assert copy.digests() == before


def test_predict_names_a_picture_and_draws_where_it_looked(finished: Workspace, tmp_path: Path) -> None:
    picture = tmp_path / "mine.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(picture)
    output = finished.ok("python", "-m", "commands.predict", str(picture), "--out", str(tmp_path / "out"))
    assert len(re.findall(r"^  \S.* +\d+\.\d\d %$", output, re.MULTILINE)) == 5
    with Image.open(tmp_path / "out/mine.png") as overlay:
        assert min(overlay.size) > 100


def test_summary_says_how_it_ended(finished: Workspace) -> None:
    output = finished.ok("python", "-m", "commands.summary")
    accuracy = json.loads((finished.root / "metrics/evaluate.json").read_text())["accuracy"]
    for words in (percent(accuracy), "reports/run.html", "make ui", "dvc exp run -S norm=layer"):
        assert words in output


def test_sync_rebuilds_a_run_whose_store_is_lost(copy: Workspace) -> None:
    assert not (copy.root / "mlflow.db").exists()
    assert "is complete" in copy.ok("python", "-m", "commands.sync")
    (run,) = copy.runs()
    assert_complete(copy, run)


def test_recipes_run_without_a_git_identity_and_do_not_leak(copy: Workspace) -> None:
    quick = [part for key, value in QUICK.items() for part in ("-S", f"{key}={value}")]
    output = copy.ok("python", "-m", "recipes", "quick", *quick, "-S", "evaluate.bins=10")
    assert output.startswith("$ dvc exp run ")
    assert stages_run(output) == ["check", "evaluate", "report"], output
    assert copy.params()["evaluate.bins"] == 10

    output = copy.ok("python", "-m", "recipes", "quick", *quick)
    assert "evaluate.bins was 10 (not committed). This experiment uses 15" in output
    assert copy.params()["evaluate.bins"] == 15
    assert stages_run(output) == [], output  # all of it is in DVC's cache
    assert len(copy.runs()) == 1
    assert len(copy.ok("git", "for-each-ref", "refs/exps").splitlines()) >= 2
