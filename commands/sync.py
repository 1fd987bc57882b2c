"""Complete or rebuild the MLflow run of this workspace from its files.

Needed after the tracking server was down or lost its data, and for an experiment that DVC restored from its cache.
With --all --to URI it copies every run of the store to another MLflow server.
"""

import argparse
import json
import math
import os
import subprocess
import sys

from commands import run_command
from src import artifacts, record
from src.addresses import redacted
from src.errors import UserError
from src.params import load_params

ALL = ("check", "download", *record.STAGES)
BUSY = 75  # exit code of STATUS
WAIT = 120  # seconds that another DVC command is waited for
# `dvc status --json`, which as a command gives no sign of its own that another one holds DVC's lock.
STATUS = f"""
import json, sys, time
from dvc.cli import main
from dvc.lock import LockError
from dvc.repo import Repo

end = time.monotonic() + float(sys.argv[1])
while True:
    try:
        print(json.dumps(Repo().status()))
        break
    except LockError:  # after three seconds
        if time.monotonic() > end:
            sys.exit({BUSY})
    except Exception:
        sys.exit(main(["status", "--json"]))  # says what is wrong, in DVC's words
"""


def main() -> None:
    """Complete this workspace's run, or move the whole store."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.sync", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="every run of the store (with --to)")
    parser.add_argument("--to", default="", metavar="URI", help="the server that gets them: http://127.0.0.1:5000")
    arguments = parser.parse_args()
    if arguments.all != bool(arguments.to):
        parser.error("--all and --to URI go together: every run of this store is copied to another server")
    if arguments.all:
        copy_all(arguments.to)
    else:
        complete()


def complete() -> None:
    """Upload every stage that DVC calls up to date, with all before it; name the others."""
    params = load_params()
    stale = stale_stages()
    first = min((ALL.index(s) for s in stale), default=len(ALL))
    stages = [s for s in record.STAGES if ALL.index(s) < first]
    if "train" not in stages or not artifacts.MODEL.exists():
        raise UserError(f"nothing to send: not up to date here: {', '.join(stale) or 'train'}. Run: dvc repro")

    from src.tracking import Mirror, shown_uri

    with Mirror(params, artifacts.read_json(artifacts.MODEL)["model_key"], patience=math.inf) as mirror:
        mirror.upload(*stages)
    if not mirror.complete:
        raise UserError(
            f"the run is not complete ({mirror.failure}). Call this again when that is mended, or the server is back; "
            "where mlflow.db is damaged, set it aside first, and a new one is made"
        )
    print(f"run {mirror.run_id} at {shown_uri()} is complete: {', '.join(stages)}")
    if stale:
        print(f"left out, because DVC calls them stale: {', '.join(stale)}; run: dvc repro")


def copy_all(to: str) -> None:
    """Copy what the server at `to` lacks, and say what that was."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # no training waits: a busy server may take its time

    from src.tracking import shown_uri
    from src.tracking.transfer import copy_runs

    done = copy_runs(to, lambda line: print(line, flush=True))
    for label in done.open:
        print(f"left out, because it is still going on: {label}")
    counts = f"{done.copied} runs copied, {done.completed} completed, {done.there} were there"
    print(
        f"{shown_uri()} -> {redacted(to)}: {counts}"
        + (f", {len(done.open)} still going on: call this again when they have ended" if done.open else "")
    )


def stale_stages() -> list[str]:
    """Stages whose files do not belong to the parameters, code and data of this workspace, as DVC sees it.

    Waits at most WAIT seconds, and says so, while another DVC command locks the workspace.
    """
    status = ask_dvc(0)
    if status.returncode == BUSY:
        print(f"another DVC command works in this workspace: waiting for it, at most {WAIT} s", flush=True)
        status = ask_dvc(WAIT)
    if status.returncode == BUSY:
        raise UserError(
            f"another DVC command has locked this workspace for {WAIT} s, so `dvc status` cannot look at it. Wait "
            "until that command ends, or stop it, then run this one again"
        )
    if status.returncode != 0:
        raise UserError(f"`dvc status` failed: {status.stderr.strip()}")
    return [stage for stage in ALL if stage in json.loads(status.stdout)]


def ask_dvc(wait: float) -> "subprocess.CompletedProcess[str]":
    """Run STATUS, which waits `wait` seconds for DVC's lock, and about three more."""
    return subprocess.run([sys.executable, "-c", STATUS, str(wait)], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    run_command(main)
