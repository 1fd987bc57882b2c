"""Run many trainings on many machines: a grid or a search, with a DVC experiment and an MLflow run per trial.

Uses the Ray cluster of RAY_ADDRESS, or only this machine. The same command resumes a stopped sweep.
docs/scale/sweeps.md explains the keys of SPEC.
"""

import argparse
import socket
from collections import Counter
from pathlib import Path
from typing import Any

from filelock import Timeout

from src import artifacts, git, tracking
from src.config.changes import committed_or_error
from src.config.recipes import read_recipe
from src.errors import UserError
from src.locks import locked
from src.params import problems
from src.runtime.dvc import remote_url
from src.runtime.run import run_command
from src.sweep.experiment import Job
from src.sweep.ledger import FAILED, FINISHED, STOPPED, Ledger, Record, words
from src.sweep.spec import Spec, read_spec
from src.tracking_uri import is_server
from src.wording import counted
from src.yaml_files import flatten, nest, shown


def main() -> None:
    """Check everything that is known beforehand, run the trials, and record the results."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", metavar="SPEC", type=Path, help="YAML file, such as docs/scale/sweep.yaml")
    file = parser.parse_args().spec
    spec = read_spec(file)
    content = committed_or_error()
    committed = flatten(content)
    base = committed | (read_recipe(spec.recipe, content) if spec.recipe else {}) | spec.set
    check_points(spec, base, file)
    baseline = pushed_commit(spec.remotes.git)
    folder = Path(spec.storage).expanduser() / f"{spec.name}-{baseline[:10]}"
    try:
        from src.sweep import trial  # here, because ray is an optional package
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed. Make an environment that has it with: make install-scale"
        ) from None
    try:
        with locked(folder / "sweep.lock", wait=False):
            trial.connect()
            check_machines(spec, trial.machines())
            key = artifacts.sha256_json([spec.name, baseline])[:32]
            with tracking.Sweep(key, f"sweep {spec.name}", file) as run:
                remotes = git_url(spec.remotes.git), remote_url(spec.remotes.dvc)
                job = Job(spec, committed, base, folder, baseline, *remotes, tracking.tracking_uri(), run.run_id)
                complete = trial.run_trials(job, tell)
                conclude(job, trial.records(job), run)
                if not complete:
                    raise KeyboardInterrupt
    except Timeout:
        raise UserError(
            f"another process is running this sweep ({folder / 'sweep.lock'}). Wait for it, or stop it first"
        ) from None


def check_points(spec: Spec, base: dict[str, Any], file: Path) -> None:
    """Raise UserError if the schema rejects parameters of the sweep."""
    for point in ({}, *spec.extremes()):
        if found := problems(nest({**base, **point})):
            told = "\n".join(f"{file}: {key} {problem}" for key, problem in found)
            raise UserError(f"{told}\n  {f'In the trial {shown(dict(point))}' if point else 'Fix the recipe or `set`'}")
        if (spec.search or spec.asha) and {**base, **point}["data.val_share"] == 0:
            raise UserError(
                f"{file}: a search and asha need the validation accuracy, but data.val_share is 0. Set it above 0"
            )


def pushed_commit(remote: str) -> str:
    """The commit of this workspace. Raises UserError if the Git remote does not have it."""
    commit = git.output("rev-parse", "HEAD").strip()
    git.output("fetch", "--quiet", remote)
    if not git.output("branch", "--remotes", "--contains", commit, "--list", f"{remote}/*"):
        raise UserError(f"the machines clone {remote}, which lacks commit {commit[:10]}. Run: git push {remote} HEAD")
    if changed := git.output("diff", "--name-only", "HEAD").split():
        print(f"not committed, so not part of the sweep: {', '.join(changed)}")
    return commit


def git_url(remote: str) -> str:
    """The address of a Git remote. A relative path becomes absolute, because clones are in other folders."""
    url = git.output("remote", "get-url", remote).strip()
    return str(Path(url).resolve()) if Path(url).exists() else url


def check_machines(spec: Spec, machines: list[dict[str, Any]]) -> None:
    """Raise UserError if other machines cannot reach the MLflow store. Print a note if no machine is large enough."""
    others = {machine["NodeManagerHostname"] for machine in machines} - {socket.gethostname()}
    if others and not is_server(tracking.tracking_uri()):
        raise UserError("all machines need the same MLflow server. Start one, and set MLFLOW_TRACKING_URI to it")
    asked = {"CPU": spec.resources.cpu, "GPU": spec.resources.gpu}
    if not any(all(m["Resources"].get(kind, 0) >= n for kind, n in asked.items()) for m in machines):
        print(f"no machine has {asked['CPU']:g} CPUs and {asked['GPU']:g} GPUs now. Trials wait until one does")


def tell(name: str, record: Record) -> None:
    """Print a line for a trial that begins or has ended."""
    print(f"{record['status']:<9}{name}  {words(record)}", flush=True)


def conclude(job: Job, records: dict[str, Record], run: tracking.Sweep) -> None:
    """Report the results in MLflow and in the terminal. Raises UserError if trials failed."""
    ledger = Ledger(job.folder)
    stopped = {name: record for name, record in records.items() if record["status"] == STOPPED}
    for name in stopped:
        with locked(ledger.lock(name)):  # then its process has ended, perhaps after one more epoch
            if row := ledger.last_epoch(name):
                records[name] = ledger.write(name, epoch=row["epoch"], accuracy=row["val_accuracy"])
                ledger.forget_checkpoints(name)
    counts = Counter(record["status"] for record in records.values())
    best = sorted(records.items(), key=lambda item: -(item[1].get("accuracy") or 0.0))
    finished = [(name, record) for name, record in best if record["status"] == FINISHED]
    rows = [f"| {record['status']} | {name} | {words(record)} |" for name, record in best]
    note = "\n".join(["| status | experiment | |", "|---|---|---|", *rows])
    tags = {status: str(counts[status]) for status in (FINISHED, STOPPED, FAILED)}
    run.tell(note[: tracking.LONGEST], tags, {name: int(records[name]["epoch"]) for name in stopped})
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if finished:
        name, remotes = finished[0][0], job.spec.remotes
        print(f"best: {name}  {words(finished[0][1])}")
        print(f"  dvc exp pull {remotes.git} {name} --remote {remotes.dvc} && dvc exp apply {name}")
    if failed := [name for name, record in records.items() if record["status"] == FAILED]:
        told = "\n".join(f"  {name}: {records[name]['error']}\n    {ledger.log(name)}" for name in failed)
        raise UserError(f"{counted(len(failed), 'trial')} failed. The same command tries them again\n{told}")


if __name__ == "__main__":
    run_command(main)
