"""Print the result of the experiment in this workspace, where to look and what to type next."""

import argparse

from src import artifacts, git, record, results
from src.config.changes import uncommitted
from src.errors import UserError
from src.params import load_params
from src.runtime.dvc import stale_stages
from src.runtime.run import run_command
from src.wording import accuracy_interval, data_name, percent, points, reference_label, run_title, wrong


def main() -> None:
    """Print the summary. Raises UserError if the experiment is not finished."""
    argparse.ArgumentParser(prog="python -m commands.summary", description=__doc__).parse_args()
    if not artifacts.REPORT.exists():
        raise UserError("this workspace has no finished experiment. Run: make quickstart, or dvc repro")
    if stale := stale_stages(record.PIPELINE):
        raise UserError(f"the experiment is not finished. Not up to date: {', '.join(stale)}. Run: dvc repro")
    model, data, test = results.Model.read(), results.DataSet.read(), results.Evaluation.read()
    params = record.public(load_params())
    recorded, label = params.reference.accuracy, reference_label(params.reference)
    compared = f"compared with  {percent(recorded)}  ({label}, difference {points(test.accuracy - recorded)})\n"
    print(
        f"""
test accuracy  {percent(test.accuracy)}  ({accuracy_interval(test)})
               {run_title(model.norm, data_name(params, data.source))}, {wrong(test)} misclassified
{compared if recorded > 0 else ""}report         {artifacts.REPORT}  (open it in a browser)
model card     {artifacts.CARD}
figures        {artifacts.FIGURES}/
MLflow run     make ui, then open the printed address

Next, after `source .venv/bin/activate`:
  dvc exp run -S norm=layer           repeat with layer norm (only stages that depend on it run again)
  dvc exp show --only-changed         list experiments and how they differ
  python -m commands.predict IMAGE    classify your own picture, with a Grad-CAM overlay
  python -m recipes laptop            train on CIFAR-10 on two CPU cores
  python -m recipes standard          train on CIFAR-10 with the committed params.yaml (takes hours on a CPU)"""
    )
    if uncommitted():
        print(f"params.yaml holds the values of this experiment. To undo them, run: {git.undo(artifacts.PARAMS)}")


if __name__ == "__main__":
    run_command(main)
