"""Register the model of the best finished run in MLflow's model registry, under a name and an alias.

The best run is chosen by its validation results, because test images must not influence the selection. If a model is
already registered, it keeps its version and only the alias moves.
"""

import argparse
import os
import shlex

from src.addresses import redacted
from src.errors import printable
from src.pages.card import without_figures
from src.registry import METRICS, Candidate, rank
from src.runtime.run import run_command
from src.tracking import register_model, tracking_uri
from src.wording import number, percent

LONGEST = 5000  # characters of a version's description
PORT = 5001  # not MLflow's default 5000, which `make ui` uses


def main() -> None:
    """Register the best model, and print the choice and how to use it."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.register", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="id or name of a run or an experiment (default: all)")
    parser.add_argument("--name", default="normlens", help="name of the registered model (%(default)s)")
    parser.add_argument("--alias", default="champion", help="alias for the best run (%(default)s)")
    parser.add_argument("--where", default="", help="""MLflow filter, such as "params.norm = 'layer'" """)
    parser.add_argument("--metric", default="val/accuracy", choices=METRICS, help="metric to rank by (%(default)s)")
    arguments = parser.parse_args()
    name, alias, metric = arguments.name, arguments.alias, arguments.metric

    ranking = rank(arguments.runs, arguments.where, metric)
    best, *others = ranking.candidates
    version, before = register_model(name, alias, best.run_id, best.model_id, description(best))

    def told(candidate: Candidate) -> str:
        value = percent(candidate.value) if metric == "val/accuracy" else number(candidate.value)
        return printable(f"{candidate.label}, {metric} {value}")

    moved = f" (was version {before})" if before not in (0, version) else ""
    uri = f"models:/{name}@{alias}"
    print(f"best       {told(best)}")
    print(f"runner-up  {told(others[0]) if others else 'none'}")
    for reason in ranking.left_out:
        print(f"left out   {printable(reason)}")
    print(f"registered {name}, version {version}, alias {alias}{moved}\n\n{uri}\n")
    print(usage(uri))


def description(best: Candidate) -> str:
    """The model card, cut to the length that MLflow accepts for the description of a version."""
    return without_figures(best.card, LONGEST) if best.card else f"The run {best.run_id} has no model card."


def usage(uri: str) -> str:
    """Commands that serve, query and load the model in the virtual environment of this project."""
    settings = "MLFLOW_DISABLE_TELEMETRY=true"
    store = tracking_uri()
    if os.environ.get("MLFLOW_TRACKING_URI") != store == redacted(store):  # it is unset, or relative to this repository
        settings = f"MLFLOW_TRACKING_URI={shlex.quote(store)} {settings}"
    return f"""In this virtual environment, from any folder:
  export {settings}
  mlflow models serve -m {shlex.quote(uri)} --env-manager local --host 127.0.0.1 --port {PORT}
  curl -H 'Content-Type: application/json' -d '{{"inputs": IMAGES}}' http://127.0.0.1:{PORT}/invocations
Or in Python: mlflow.pyfunc.load_model("{uri}").predict(IMAGES)
IMAGES have shape (N, S, S, 3), RGB, with whole numbers from 0 to 255, as nested lists or as a NumPy array"""


if __name__ == "__main__":
    run_command(main)
