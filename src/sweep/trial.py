"""The sweep on Ray: its trials, the search that proposes them and early stopping. Only this module imports ray."""

import logging
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Set before ray is imported, which reads them then: no telemetry, and no output besides ours.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # no table of all trials every few seconds
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "$")  # no pages about a lost machine; we print one line
LOOPBACK = ("127.", "localhost")
if os.environ.get("RAY_ADDRESS", LOOPBACK[0]).startswith(LOOPBACK):
    # A cluster of this machine only. Otherwise it listens on all addresses. The name of the variable is Ray's.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

import src
from src.errors import UserError
from src.sweep.experiment import Experiment, Job, Progress
from src.sweep.ledger import FAILED, FINISHED, STOPPED, Ledger, Record
from src.sweep.spec import Point, Space, Spec, trial_name

METRIC = {"metric": "val_accuracy", "mode": "max"}
MOST_ATTEMPTS = 10  # machines that a trial may lose before it waits for the next command
REACH = 10.0  # seconds that the first machine of the cluster has to answer
OBJECT_STORE = 100 * 2**20  # bytes of Ray's shared memory; trials share files, and the default is a third of the memory

Tell = Callable[[str, Record], None]


def connect() -> None:
    """Connect to the cluster of RAY_ADDRESS, or start one on this machine that ends with this process.

    Raises UserError if the cluster cannot be reached or does not start.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        check_reachable(address)
    else:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    # Machines need the environment of requirements-scale.lock, but not this repository: `src` is sent to them.
    try:
        ray.init(runtime_env={"py_modules": [str(Path(str(src.__file__)).parent)]}, **options)
    except Exception as error:  # of many types
        where = f"cannot be reached at RAY_ADDRESS={address}" if address else "does not start on this machine"
        raise UserError(f"Ray {where}: {str(error).partition(chr(10))[0]}") from None


def check_reachable(address: str) -> None:
    """Raise UserError if nothing listens at `HOST:PORT` or `ray://HOST:PORT`. Ray would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":  # Ray finds a cluster on this machine by itself
        return
    if not (host and port.isdigit()):
        raise UserError(
            f"RAY_ADDRESS={address} is not the address of a Ray cluster. Set it to HOST:PORT, as printed by `ray start`"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Ray cannot be reached at RAY_ADDRESS={address}: {error}. Start it with: ray start --head"
        ) from None


def machines() -> list[dict[str, Any]]:
    """The machines of the cluster as Ray describes them: NodeManagerHostname, Resources, NodeID."""
    return [node for node in ray.nodes() if node["Alive"]]


class Trial(tune.Trainable):
    """A trial in its own process, on the machine that Ray chose."""

    def setup(self, config: dict[str, Any], job: Job) -> None:
        """Called by Ray first."""
        self._experiment = Experiment(job, config["point"], ray.get_runtime_context().get_node_id())

    def step(self) -> Progress:
        """Called by Ray until it returns `done`."""
        return self._experiment.progress()

    def cleanup(self) -> None:
        """Called by Ray at the end, also if the trial is stopped early or the sweep is interrupted."""
        self._experiment.stop()


class _Watch(tune.Callback):
    """Records early stops, and reports each trial that begins or ends."""

    def __init__(self, job: Job, tell: Tell) -> None:
        self._job, self._ledger, self._tell = job, Ledger(job.folder), tell
        self.ended = 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(self._name(trial), {"status": "running", "point": self._point(trial)})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name, last = self._name(trial), trial.last_result
        self.ended += 1
        if "status" in last:  # the trial ended by itself
            record = self._ledger.record(name)
        else:
            record = self._ledger.write(name, status=STOPPED, epoch=last["epoch"], accuracy=last["val_accuracy"])
        self._tell(name, record)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(self._name(trial), {"status": "lost", "point": self._point(trial)})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.ended += 1
        name, error = self._name(trial), str(trial.get_error()).strip().rpartition("\n")[2]
        self._tell(name, self._ledger.write(name, status=FAILED, point=self._point(trial), error=error))

    def _name(self, trial: Any) -> str:
        return trial_name(self._job.spec, self._job.params(trial.config["point"]))

    def _point(self, trial: Any) -> Point:
        return self._job.spec.tidy(trial.config["point"])


def run_trials(job: Job, tell: Tell) -> bool:
    """Run the trials of the sweep that have not ended before. Returns whether all have ended, False after Ctrl-C."""
    spec, known = job.spec, list(records(job).values())
    ended = [record for record in known if record["status"] in (FINISHED, STOPPED)]
    if spec.search:
        samples = asked = (spec.trials or 0) - len(ended)
        search, param_space = _search(spec, known), None
    else:
        done = [record["point"] for record in ended]
        points = [point for point in spec.grid_points() if spec.tidy(point) not in done]
        samples, asked = 1, len(points)
        search, param_space = None, {"point": tune.grid_search(points)}
    if asked <= 0:
        return True
    most = max(job.params(point)["train.epochs"] for point in ({}, *spec.extremes()))
    asha = spec.asha and ASHAScheduler(
        time_attr="epoch", grace_period=spec.asha.grace, reduction_factor=spec.asha.reduction, max_t=most + 1, **METRIC
    )  # max_t is above the last epoch, at which it would end trials before their evaluation
    watch = _Watch(job, tell)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Trial, job=job), spec.resources.model_dump()),
        param_space=param_space,
        tune_config=tune.TuneConfig(search_alg=search, scheduler=asha or None, num_samples=samples, reuse_actors=False),
        run_config=tune.RunConfig(
            name=f"ray-{os.getpid()}",
            storage_path=str(job.folder),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials have their own checkpoints
            failure_config=tune.FailureConfig(max_failures=MOST_ATTEMPTS),
            callbacks=[watch],
            verbose=0,
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # no traceback for each lost machine
    try:
        tuner.fit()
    finally:
        shutil.rmtree(job.folder / f"ray-{os.getpid()}", ignore_errors=True)  # the ledger has all of it
    return watch.ended == asked


def records(job: Job) -> dict[str, Record]:
    """Records of the trials that belong to the sweep according to its current file, by name."""
    return {
        name: record
        for name, record in Ledger(job.folder).records().items()
        if job.spec.asks_for(record["point"]) and trial_name(job.spec, job.params(record["point"])) == name
    }


def _search(spec: Spec, known: list[Record]) -> OptunaSearch:
    """Optuna's TPE sampler. It learns from trials that ended before, and proposes those that did not end first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points = [{f"point/{key}": value for key, value in record["point"].items()} for record in known]
    ended = [record["status"] in (FINISHED, STOPPED) for record in known]
    search = OptunaSearch(
        space={f"point/{key}": _distribution(space) for key, space in (spec.search or {}).items()},
        points_to_evaluate=[point for point, done in zip(points, ended, strict=True) if not done] or None,
        seed=spec.seed + len(known),  # with the same seed it would propose the first trials again
        **METRIC,
    )
    for point, record, done in zip(points, known, ended, strict=True):
        if done:
            search.add_evaluated_point(point, record["accuracy"] or 0.0)
    return search


def _distribution(space: Space) -> optuna.distributions.BaseDistribution:
    if space.choice:
        return optuna.distributions.CategoricalDistribution(space.choice)
    if space.int:
        return optuna.distributions.IntDistribution(int(space.int[0]), int(space.int[1]))
    return optuna.distributions.FloatDistribution(*(space.uniform or space.log or ()), log=space.log is not None)
