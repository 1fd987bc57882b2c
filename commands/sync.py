"""Complete or rebuild the MLflow run of this workspace from its files.

Needed after the tracking server was down or lost its data, and for an experiment that DVC restored from its cache.
"""

import argparse
import json
import math
import subprocess
import sys

from commands import run_command
from src import artifacts, record
from src.errors import UserError
from src.params import load_params

ALL = ("check", "download", *record.STAGES)


def main() -> None:
    """Upload every stage that DVC calls up to date, with all before it; name the others."""
    argparse.ArgumentParser(prog="python -m commands.sync", description=__doc__).parse_args()
    params = load_params()
    stale = stale_stages()
    first = min((ALL.index(s) for s in stale), default=len(ALL))
    stages = [s for s in record.STAGES if ALL.index(s) < first]
    if "train" not in stages or not artifacts.MODEL.exists():
        raise UserError(f"nothing to send: not up to date here: {', '.join(stale) or 'train'}. Run: dvc repro")

    from src.tracking import Mirror, tracking_uri

    with Mirror(params, artifacts.read_json(artifacts.MODEL)["model_key"], patience=math.inf) as mirror:
        mirror.upload(*stages)
    if not mirror.complete:
        raise UserError(
            f"the run is not complete ({mirror.failure}). Call this again when that is mended, or the server is back; "
            "where mlflow.db is damaged, set it aside first, and a new one is made"
        )
    print(f"run {mirror.run_id} at {tracking_uri()} is complete: {', '.join(stages)}")
    if stale:
        print(f"left out, because DVC calls them stale: {', '.join(stale)}; run: dvc repro")


def stale_stages() -> list[str]:
    """Stages whose files do not belong to the parameters, code and data of this workspace, as DVC sees it."""
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], capture_output=True, text=True, check=False
    )
    if status.returncode != 0:
        raise UserError(f"`dvc status` failed: {status.stderr.strip()}")
    return [stage for stage in ALL if stage in json.loads(status.stdout)]


if __name__ == "__main__":
    run_command(main)
