"""Say in a few lines how the experiment of this workspace ended, where to look and what to type next."""

import argparse

from commands import run_command
from commands.sync import stale_stages
from src import artifacts, git, record
from src.errors import UserError
from src.params import load_params, uncommitted


def main() -> None:
    """Print the summary; an experiment that has not ended is a UserError."""
    argparse.ArgumentParser(prog="python -m commands.summary", description=__doc__).parse_args()
    if not artifacts.REPORT.exists():
        raise UserError("no finished experiment here. Run: make quickstart, or dvc repro")
    if stale := stale_stages():
        raise UserError(f"the experiment here is not finished: not up to date: {', '.join(stale)}. Run: dvc repro")
    model = artifacts.read_json(artifacts.MODEL)
    data = artifacts.read_json(artifacts.METRICS / "data.json")
    test = artifacts.read_json(artifacts.METRICS / "evaluate.json")
    params = record.public(load_params())
    recorded, label = params.reference.accuracy, record.reference_label(params.reference)
    compared = f"compared with  {recorded:.2%}  {label}: {100 * (test['accuracy'] - recorded):+.2f} points\n"
    print(
        f"""
test accuracy  {test["accuracy"]:.2%}  (95 % interval {test["accuracy_low"]:.2%} to {test["accuracy_high"]:.2%})
               ResNet-18 with norm {model["norm"]} on {record.data_name(params, data["source"])}, \
{test["wrong"]} of {test["images"]} test images wrong
{compared if recorded > 0 else ""}report         {artifacts.REPORT}  (open it in a browser)
model card     {artifacts.CARD}
figures        {artifacts.FIGURES}/
MLflow run     make ui, then open the address that it prints

Next, after `source .venv/bin/activate`:
  dvc exp run -S norm=layer           the same experiment with layer norm; only what depends on it runs again
  dvc exp show --only-changed         the experiments side by side
  python -m commands.predict IMAGE    your own picture, with a Grad-CAM overlay
  python -m recipes standard          CIFAR-10 with the committed params.yaml"""
    )
    if uncommitted():
        print(f"params.yaml holds the values of this experiment. Undo them with: {git.undo(artifacts.PARAMS)}")


if __name__ == "__main__":
    run_command(main)
