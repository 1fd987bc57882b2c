"""Write a self-contained page about the run and a model card, from the files of the other stages."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from src import artifacts, record
from src.figures import curves as figures
from src.figures.style import save
from src.pages import card
from src.pages import run as run_page
from src.pages.content import Run
from src.params import Params, committed_params, hydra_value
from src.tracking import Mirror
from src.yaml_files import flatten
from stages import run_stage


def main(params: Params) -> None:
    """Write the report and complete the MLflow run."""
    model = artifacts.read_json(artifacts.MODEL)
    with Mirror(params, model["model_key"]) as mirror:
        write_report(params, model)
        mirror.upload(*record.STAGES)  # all stages, including what the server missed before


def write_report(params: Params, model: dict[str, Any]) -> None:
    """Write figures/report, reports/run.html and reports/model_card.md."""
    params, metrics = record.public(params), artifacts.METRICS
    test = artifacts.read_json(metrics / "evaluate.json")
    data, history = artifacts.read_json(metrics / "data.json"), artifacts.read_csv(metrics / "history.csv")
    curves = figures.Curves(
        **{
            name: [float(row[name]) for row in history if row[name] != ""]
            for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
        }
    )
    folder = artifacts.FIGURES / "report"
    label, target = record.reference_label(params.reference), params.reference.accuracy
    save(figures.learning_curves(curves, model["epoch"], test["accuracy"], target, label), folder / "curves.png")
    save(figures.learning_rate(curves), folder / "learning_rate.png")

    values, committed = flatten(params.model_dump()), record.without_passwords(flatten(committed_params()))
    changed = {key: committed.get(key, "") for key in values if committed and committed.get(key) != values[key]}
    tags = record.tags(params, model["model_key"])
    run = Run(
        data=data,
        model=model,
        lr_range=artifacts.read_json(metrics / "lr_range.json"),
        train=artifacts.read_json(metrics / "train.json"),
        test=test,
        gradcam=artifacts.read_json(metrics / "gradcam.json"),
        history=history,
        per_class=artifacts.read_csv(metrics / "per_class.csv"),
        misclassified=artifacts.read_csv(metrics / "misclassified.csv"),
        model_summary=(metrics / "model_summary.txt").read_text(encoding="utf-8"),
        figures=read_figures(artifacts.FIGURES),
        params=values,
        changed=changed,
        network_options=record.network_options(params),
        reference=label,
        recipe_changes=record.recipe_changes(params),
        data_name=record.data_name(params, data["source"]),
        name=record.run_name(params),
        command=command({key: values[key] for key in changed}),
        commit=tags.get("mlflow.source.git.commit", ""),
        versions=tags["versions"],
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    page = run_page.render(run)
    artifacts.write_text(artifacts.REPORT, page)
    artifacts.write_text(artifacts.CARD, card.render(run))
    print(f"Wrote {artifacts.REPORT} ({len(page) / 2**20:.1f} MiB). Open it in a browser")


def read_figures(folder: Path) -> dict[str, bytes]:
    """Every PNG under `folder` by its path without the suffix, such as `evaluate/reliability`."""
    return {p.relative_to(folder).with_suffix("").as_posix(): p.read_bytes() for p in sorted(folder.glob("*/*.png"))}


def command(changed: dict[str, object]) -> str:
    """The command that repeats the run, given the values that differ from the committed ones."""
    settings = [part for key, value in changed.items() for part in ("-S", f"{key}={hydra_value(value)}")]
    return shlex.join(["dvc", "exp", "run", *settings]) if settings else "dvc repro"


if __name__ == "__main__":
    run_stage(main)
