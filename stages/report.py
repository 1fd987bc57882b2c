"""Write a self-contained page about the run and a model card, from the files of the other stages."""

from datetime import UTC, datetime
from pathlib import Path

from src import artifacts, record, results
from src.config.overrides import command_line
from src.figures import curves as figures
from src.figures.style import save
from src.pages import card
from src.pages import run as run_page
from src.pages.content import Run
from src.params import Params, committed_params
from src.runtime.run import run_stage
from src.tracking import Mirror
from src.wording import data_name, reference_label
from src.yaml_files import flatten

FOLDER = artifacts.FIGURES / "report"


def main(params: Params) -> None:
    """Write the report and complete the MLflow run."""
    model = results.Model.read()
    with Mirror(params, model.model_key) as mirror:
        write_report(record.public(params), model)
        mirror.upload(*record.STAGES)  # all stages, including what the server missed before


def write_report(params: Params, model: results.Model) -> None:
    """Write figures/report, reports/run.html and reports/model_card.md. `params` have no passwords."""
    data, test, history = results.DataSet.read(), results.Evaluation.read(), results.Epoch.read_all()
    label, target = reference_label(params.reference), params.reference.accuracy
    save(figures.learning_curves(history, model.epoch, test.accuracy, target, label), FOLDER / "curves.png")
    save(figures.learning_rate(history), FOLDER / "learning_rate.png")

    values, committed = flatten(params.model_dump()), record.without_passwords(flatten(committed_params()))
    changed = {key: committed.get(key, "") for key in values if committed and committed.get(key) != values[key]}
    tags = record.tags(params, model.model_key)
    run = Run(
        data=data,
        model=model,
        lr_range=results.RangeTest.read(),
        train=results.Training.read(),
        test=test,
        maps=results.Maps.read(),
        history=history,
        per_class=results.ClassScores.read_all(),
        misclassified=results.Prediction.read_all(results.MISCLASSIFIED),
        model_summary=results.MODEL_SUMMARY.read_text(encoding="utf-8"),
        figures=read_figures(artifacts.FIGURES),
        params=params,
        changed=changed,
        recipe_changes=record.recipe_changes(params),
        data_name=data_name(params, data.source),
        name=record.run_name(params),
        command=command_line({key: values[key] for key in changed}),
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


if __name__ == "__main__":
    run_stage(main)
