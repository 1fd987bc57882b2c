"""`python -m commands.compare` on what real runs left in a real MLflow store."""

import json
from pathlib import Path

import pytest

from tests.pipeline.workspace import Workspace


@pytest.mark.slow
def test_two_runs_are_compared_and_the_comparison_is_logged_once(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "workspace")
    workspace.ok("dvc", "repro")
    workspace.set_params({"norm": "layer"})
    workspace.ok("dvc", "repro")

    for _ in range(2):
        output = workspace.ok("python", "-m", "commands.compare")
    assert "2 runs, grouped by norm" in output
    assert "what another seed would change is not known" in output

    found = json.loads((workspace.root / "reports/compare.json").read_text())
    by_norm = {run.data.params["norm"]: run for run in workspace.runs()}
    assert [group["label"] for group in found["groups"]] == ["batch", "layer"]
    for group in found["groups"]:
        assert group["runs"] == [by_norm[group["label"]].info.run_id]
        assert group["accuracy"]["mean"] == by_norm[group["label"]].data.metrics["test/accuracy"]
        assert group["images_per_second"]["mean"] > 0
    (pair,) = found["pairs"]
    difference = (pair["mcnemar"]["only_second"] - pair["mcnemar"]["only_first"]) / 100  # TINY has 100 test images
    assert pair["welch"]["difference"] == pytest.approx(difference)

    client = workspace.store()
    experiment = client.get_experiment_by_name("comparisons")
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED"
    assert set(logged.data.tags["runs"].split(",")) == {run.info.run_id for run in by_norm.values()}
    kept = workspace.artifacts(logged)
    for name in ("compare.html", "compare.json"):
        assert kept[name].read_bytes() == (workspace.root / "reports" / name).read_bytes()
    assert set(kept) == {"compare.html", "compare.json", "curves.png", "classes.png"}

    for arguments, told in (
        (["--by", "nrm"], "did you mean norm"),
        (["--where", "nonsense !"], "--where 'nonsense !' selects no runs"),
        (["nobody"], "no run is called nobody"),
        (["--to-accuracy", "90"], "give fractions"),
    ):
        done = workspace.run("python", "-m", "commands.compare", *arguments)
        assert done.returncode == 1
        assert told in done.stderr
        assert "Traceback" not in done.stderr
