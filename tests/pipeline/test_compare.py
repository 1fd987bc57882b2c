"""`python -m commands.compare` on what real runs left in a real MLflow store."""

import json

import pytest
from mlflow.entities import Run

from src.artifacts import read_csv
from tests.pipeline.workspace import Workspace


@pytest.mark.slow
def test_runs_are_compared_and_the_comparison_is_logged_once(copy: Workspace) -> None:
    workspace = copy
    workspace.ok("python", "-m", "commands.sync")  # norm batch, seed 0
    for norm, seed in (("layer", 0), ("batch", 1)):
        workspace.set_params({"norm": norm, "seed": seed})
        workspace.ok("dvc", "repro", "evaluate")  # all that it reads
    before = workspace.digests()

    for _ in range(2):
        output = workspace.ok("python", "-m", "commands.compare", "--by", "norm")
    assert "3 runs, grouped by norm" in output
    assert "Run at least 2 seeds of each" in output

    found = json.loads((workspace.root / "reports/compare.json").read_text())
    by_id = {run.info.run_id: run for run in workspace.runs()}
    assert [group["label"] for group in found["groups"]] == ["batch norm", "layer norm"]
    assert [group["seeds"] for group in found["groups"]] == [[0, 1], [0]]
    for group in found["groups"]:
        runs = [by_id[run] for run in group["runs"]]
        assert {run.data.params["norm"] for run in runs} == {group["values"]["norm"]}
        mean = sum(run.data.metrics["test/accuracy"] for run in runs) / len(runs)
        assert group["accuracy"]["mean"] == pytest.approx(mean)
        assert group["images_per_second"]["mean"] > 0
    (pair,) = found["pairs"]
    assert pair["welch_of"].keys() == {"loss", "ece", "images_per_second"}
    assert len(pair["classes"]) == 10

    maps = found["maps"]
    assert (maps["method"], maps["layer"], maps["images"]) == ("GradCAM", "layer4", 100)  # TINY has 100 test images
    batch, layer = maps["groups"]
    assert layer["within"] is None
    (between,) = (pair["between"] for pair in maps["pairs"])
    for agreement in (batch["within"], between):
        assert -1 <= agreement["spearman"]["lowest"] <= agreement["spearman"]["highest"] <= 1
        assert 0 <= agreement["iou"]["mean"] <= 1
    assert maps["pairs"][0]["sentence"] in output
    true = [row["true"] for row in read_csv(workspace.root / "metrics/predictions.csv")]
    answers = {
        c: found_answers(workspace, by_id[g["runs"][0]]) for c, g in zip(maps["columns"], maps["groups"], strict=True)
    }
    for row in maps["rows"]:
        wrong = [column for column, names in answers.items() if names[row["index"]] != true[row["index"]]]
        if row["why"] != "maps disagree most":
            assert row["why"] == ("both wrong" if len(wrong) == 2 else f"only {wrong[0]} wrong")

    client = workspace.store()
    experiment = client.get_experiment_by_name("comparisons")
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED"
    assert set(logged.data.tags["runs"].split(",")) == by_id.keys()
    kept = workspace.artifacts(logged)
    for name in ("compare.html", "compare.json"):
        assert kept[name].read_bytes() == (workspace.root / "reports" / name).read_bytes()
    figures = {f"{name}.png" for name in ("curves", "classes", "differences", "agreement", "maps")}
    assert set(kept) == {"compare.html", "compare.json"} | figures
    written = {f"reports/compare{name}" for name in (".html", ".json")} | {f"reports/compare/{f}" for f in figures}
    after = workspace.digests()
    assert {name for name in after if after[name] != before.get(name)} == written
    assert before.keys() <= after.keys()

    workspace.ok("python", "-m", "commands.compare", "--by", "norm", "--no-cams")
    assert json.loads((workspace.root / "reports/compare.json").read_text())["maps"] is None
    assert not (workspace.root / "reports/compare/maps.png").exists()
    workspace.set_params({"data.shapes.seed": 1})
    workspace.ok("dvc", "repro", "prepare")
    told = workspace.ok("python", "-m", "commands.compare", "--by", "norm")
    assert "no maps were made: data/prepared has other images than the runs" in told
    assert "dvc exp run -S data.shapes.seed=0 prepare" in told

    done = workspace.run("python", "-m", "commands.compare", "--by", "nrm")
    assert done.returncode == 1
    assert "did you mean norm" in done.stderr
    assert "Traceback" not in done.stderr


def found_answers(workspace: Workspace, run: Run) -> list[str]:
    """The class that a run predicts for each test image."""
    return [row["predicted"] for row in read_csv(workspace.artifacts(run)["metrics/predictions.csv"])]
