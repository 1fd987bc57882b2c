"""Complete or rebuild the MLflow run of this workspace from its files.

Use it after the tracking server was down or lost its data, or for an experiment that DVC restored from its cache.
With --all --to URI it copies every run of the store to another MLflow server.
"""

import argparse
import math
import os
from itertools import takewhile

from src import artifacts, record, results
from src.addresses import redacted
from src.errors import UserError
from src.params import load_params
from src.runtime.dvc import stale_stages
from src.runtime.run import run_command
from src.wording import counted


def main() -> None:
    """Complete the run of this workspace, or copy the whole store."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.sync", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="copy every run of the store (with --to)")
    parser.add_argument("--to", default="", metavar="URI", help="server to copy to, such as http://127.0.0.1:5000")
    arguments = parser.parse_args()
    if arguments.all != bool(arguments.to):
        parser.error("--all and --to URI go together: they copy every run of this store to another server")
    if arguments.all:
        copy_all(arguments.to)
    else:
        complete()


def complete() -> None:
    """Upload every stage that is up to date and that no stale stage precedes. Print the others."""
    params = load_params()
    stale = stale_stages(record.PIPELINE)
    current = takewhile(lambda stage: stage not in stale, record.PIPELINE)
    stages = [stage for stage in current if stage in record.STAGES]
    if "train" not in stages or not artifacts.MODEL.exists():
        raise UserError(f"nothing to send. Not up to date: {', '.join(stale) or 'train'}. Run: dvc repro")

    from src.tracking import Mirror, shown_uri

    with Mirror(params, results.Model.read().model_key, patience=math.inf) as mirror:
        mirror.upload(*stages)
    if not mirror.complete:
        raise UserError(
            f"the run is not complete ({mirror.failure}). Fix the cause, then run the command again. If mlflow.db is "
            "damaged, move it away first, and a new one will be created"
        )
    print(f"run {mirror.run_id} at {shown_uri()} is complete: {', '.join(stages)}")
    if stale:
        print(f"left out, because they are not up to date: {', '.join(stale)}. Run: dvc repro")


def copy_all(to: str) -> None:
    """Copy the runs that the server at `to` lacks, and print what was copied."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # no training waits, so a busy server may take longer

    from src.tracking import shown_uri
    from src.tracking.transfer import copy_runs

    done = copy_runs(to, lambda line: print(line, flush=True))
    for label in done.open:
        print(f"left out, because it is still active: {label}")
    counts = f"{counted(done.copied, 'run')} copied, {done.completed} completed, {done.there} already there"
    print(
        f"{shown_uri()} -> {redacted(to)}: {counts}"
        + (f", {len(done.open)} still active. Run the command again when they have ended" if done.open else "")
    )


if __name__ == "__main__":
    run_command(main)
