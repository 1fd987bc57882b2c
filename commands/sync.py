"""Complete or rebuild the MLflow run of this workspace from its files.

Use it after the tracking server was down or lost its data, or for an experiment that DVC restored from its cache.
With --all --to URI it copies every run of the store to another MLflow server.
"""

import argparse
import json
import math
import os
import subprocess
import sys

from commands import run_command
from src import artifacts, record, results
from src.addresses import redacted
from src.errors import UserError
from src.params import load_params
from src.wording import counted

ALL = ("check", "download", *record.STAGES)
BUSY = 75  # exit code of STATUS
WAIT = 120  # seconds to wait for another DVC command
# Like `dvc status --json`, which does not report separately that another command holds DVC's lock.
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
        sys.exit(main(["status", "--json"]))  # prints DVC's own error message
"""


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
    stale = stale_stages()
    first = min((ALL.index(s) for s in stale), default=len(ALL))
    stages = [s for s in record.STAGES if ALL.index(s) < first]
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


def stale_stages() -> list[str]:
    """Stages whose files do not match the parameters, code and data of this workspace, according to DVC.

    If another DVC command locks the workspace, prints a message and waits at most WAIT seconds.
    """
    status = ask_dvc(0)
    if status.returncode == BUSY:
        print(f"waiting for another DVC command in this workspace, at most {WAIT} s", flush=True)
        status = ask_dvc(WAIT)
    if status.returncode == BUSY:
        raise UserError(
            f"another DVC command has locked this workspace for {WAIT} s, so `dvc status` cannot run. Wait until that "
            "command ends, or stop it. Then run this command again"
        )
    if status.returncode != 0:
        raise UserError(f"`dvc status` failed: {status.stderr.strip()}")
    return [stage for stage in ALL if stage in json.loads(status.stdout)]


def ask_dvc(wait: float) -> "subprocess.CompletedProcess[str]":
    """Run STATUS, which waits `wait` seconds for DVC's lock, and about three seconds more."""
    return subprocess.run([sys.executable, "-c", STATUS, str(wait)], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    run_command(main)
