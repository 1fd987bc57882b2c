"""Print the result of the experiment in this workspace, where to look and what to type next."""

import argparse

from commands import run_command
from commands.sync import stale_stages
from src import artifacts, git, record
from src.errors import UserError
from src.params import load_params, uncommitted
from src.wording import norm_name, percent, points


def main() -> None:
    """Print the summary. Raises UserError if the experiment is not finished."""
    argparse.ArgumentParser(prog="python -m commands.summary", description=__doc__).parse_args()
    if not artifacts.REPORT.exists():
        raise UserError("this workspace has no finished experiment. Run: make quickstart, or dvc repro")
    if stale := stale_stages():
        raise UserError(f"the experiment is not finished. Not up to date: {', '.join(stale)}. Run: dvc repro")
    model = artifacts.read_json(artifacts.MODEL)
    data = artifacts.read_json(artifacts.METRICS / "data.json")
    test = artifacts.read_json(artifacts.METRICS / "evaluate.json")
    params = record.public(load_params())
    recorded, label = params.reference.accuracy, record.reference_label(params.reference)
    difference = points(test["accuracy"] - recorded)
    compared = f"compared with  {percent(recorded)}  ({label}, difference {difference})\n"
    low, high = percent(test["accuracy_low"]), percent(test["accuracy_high"])
    print(
        f"""
test accuracy  {percent(test["accuracy"])}  (95 % interval {low} to {high})
               ResNet-18 with {norm_name(model["norm"])} on {record.data_name(params, data["source"])}, \
{test["wrong"]} of {test["images"]} test images misclassified
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
