"""Put the best finished run into MLflow's model registry, under a name and an alias that programs can rely on.

The best by its validation images: the test images are for a last look, and choosing by them would spoil it. A run that
is registered already keeps its version; only the alias moves.
"""

import argparse
import os
import shlex

from commands import run_command
from src.addresses import redacted
from src.errors import printable
from src.registry import METRICS, Candidate, rank
from src.report.card import without_figures
from src.report.formats import number, percent
from src.tracking import register_model, tracking_uri

LONGEST = 5000  # characters of a version's description
PORT = 5001  # MLflow's own, 5000, is that of `make ui`


def main() -> None:
    """Register, and say what was chosen and how to use it."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.register", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="id or name of a run or an experiment; none: all runs")
    parser.add_argument("--name", default="normlens", help="of the registered model (%(default)s)")
    parser.add_argument("--alias", default="champion", help="that the best run gets (%(default)s)")
    parser.add_argument("--where", default="", help="""MLflow's filter, e.g. "params.norm = 'layer'" """)
    parser.add_argument("--metric", default="val/accuracy", choices=METRICS, help="to choose by (%(default)s)")
    arguments = parser.parse_args()
    name, alias, metric = arguments.name, arguments.alias, arguments.metric

    ranking = rank(arguments.runs, arguments.where, metric)
    best, *others = ranking.candidates
    version, before = register_model(name, alias, best.run_id, best.model_id, description(best))

    def told(candidate: Candidate) -> str:
        value = percent(candidate.value) if metric == "val/accuracy" else number(candidate.value)
        return printable(f"{candidate.label}, {metric} {value}")

    moved = f" (version {before} before)" if before not in (0, version) else ""
    uri = f"models:/{name}@{alias}"
    print(f"best       {told(best)}")
    print(f"runner-up  {told(others[0]) if others else 'none: no other model to compare with'}")
    for reason in ranking.left_out:
        print(f"left out   {printable(reason)}")
    print(f"registered {name}, version {version}, alias {alias}{moved}\n\n{uri}\n")
    print(usage(uri))


def description(best: Candidate) -> str:
    """The model card, as far as a version's description takes it."""
    return without_figures(best.card, LONGEST) if best.card else f"The run {best.run_id} has no model card."


def usage(uri: str) -> str:
    """How to serve, ask and load the model, in the virtual environment of this project."""
    settings = "MLFLOW_DISABLE_TELEMETRY=true"
    store = tracking_uri()
    if os.environ.get("MLFLOW_TRACKING_URI") != store == redacted(store):  # it is unset, or relative to this repository
        settings = f"MLFLOW_TRACKING_URI={shlex.quote(store)} {settings}"
    return f"""In this virtual environment, from any folder:
  export {settings}
  mlflow models serve -m {shlex.quote(uri)} --env-manager local --host 127.0.0.1 --port {PORT}
  curl -H 'Content-Type: application/json' -d '{{"inputs": IMAGES}}' http://127.0.0.1:{PORT}/invocations
or in Python: mlflow.pyfunc.load_model("{uri}").predict(IMAGES)
IMAGES: (N, S, S, 3), RGB, whole numbers from 0 to 255, as nested lists or as a NumPy array"""


if __name__ == "__main__":
    run_command(main)
