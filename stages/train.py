"""Train the model, or resume from the last completed epoch: `dvc repro train`.

On several devices, this process launches itself once per device (src/launch.py). It holds the locks and reports errors.
Among the training processes, only rank 0 writes outputs and talks to MLflow.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from tqdm import tqdm

from src import artifacts
from src.data.prepared import Prepared, load
from src.errors import UserError
from src.launch import launch, launched, report, this_node
from src.model.device import Precision, count_devices, hardware_name, resolve_device, resolve_precision
from src.model.saved import Description, save_model
from src.params import Params
from src.processes import die_with_parent
from src.tracking import Mirror
from src.training.checkpoint import has_checkpoint, model_lock, prune
from src.training.history import Row, best_epoch, table_head, table_line
from src.training.key import model_key
from src.training.loop import Trained, train
from src.training.ranks import ALONE, Ranks, joined
from src.wording import norm_name
from stages import Stopped, compute_turn, run_stage


class Task(NamedTuple):
    """Everything that determines the model to train."""

    prepared: Prepared
    lr: float
    device: torch.device
    precision: Precision
    key: str


def main(params: Params) -> None:
    """data/prepared and models/lr.json -> models/model.*, metrics/history.csv, metrics/train.json"""
    device, nodes = resolve_device(params.device), params.train.nodes
    if launched():
        with reported(), joined(nodes, device) as ranks:
            make(params, read_task(params, ranks.count), ranks)
        return
    devices, node = count_devices(params.train.devices, device), this_node(nodes)
    command = ("-m", "stages.train")
    if node > 0:
        tqdm.write(f"node {node} of {nodes}: training on {devices} devices. Only node 0 writes results")
        launch(command, devices, nodes, device.type)
        return
    task = read_task(params, devices * nodes)
    with model_lock(artifacts.root() / ".locks", task.key, tqdm.write):
        if devices * nodes == 1:
            make(params, task, ALONE)
            return
        with compute_turn(device):
            try:
                launch(command, devices, nodes, device.type)
            except BaseException:
                with Mirror(params, task.key):  # rank 0 only knows its own errors, and may have been killed
                    raise


def read_task(params: Params, ranks: int) -> Task:
    """Read the task of `params` for `ranks` processes from the files of earlier stages."""
    prepared, lr, device = load(), read_lr(), resolve_device(params.device)
    precision = resolve_precision(params.precision, device)
    key = model_key(params, lr, prepared.digest, device.type, precision, ranks)
    return Task(prepared, lr, device, precision, key)


def make(params: Params, task: Task, ranks: Ranks) -> None:
    """Train `task`, alone or as one of several ranks. A process that is alone or rank 0 writes and uploads outputs."""
    prepared, lr, device, precision, key = task
    checkpoints, locks = artifacts.checkpoints(), artifacts.root() / ".locks"
    if ranks.from_first(key) != key:
        raise UserError(
            f"rank {ranks.rank} has different parameters, data or code than rank 0. All nodes need the same commit, "
            "params.yaml, data/prepared and models/lr.json"
        )
    if not ranks.first:
        train(prepared, params, lr, device, precision, checkpoints / key, lambda _: None, lambda _: None, ranks)
        return

    with Mirror(params, key, again=not has_checkpoint(checkpoints / key)) as mirror:
        mirror.upload("lr_range")

        def on_epoch(row: Row) -> None:
            tqdm.write(table_line(row))
            artifacts.write_json(checkpoints / key / "last.json", row)  # a sweep reads it to stop poor trials early
            mirror.epoch(row)

        hardware = hardware_name(device) + (f", {ranks.count} processes" if ranks.count > 1 else "")
        tqdm.write(f"{norm_name(params.norm)}, learning rate {lr:g}, {precision} on {hardware}, model {key}")
        tqdm.write(table_head())
        with compute_turn(device) if ranks.count == 1 else nullcontext():
            trained = train(prepared, params, lr, device, precision, checkpoints / key, on_epoch, tqdm.write, ranks)
        prune(checkpoints, locks)

        description = Description(
            norm=params.norm,
            width=params.model.width,
            strides=params.model.strides,
            weight_standardization=params.model.weight_standardization,
            classes=prepared.classes,
            size=prepared.size,
            mean=prepared.mean,
            std=prepared.std,
            model_key=key,
            seed=params.seed,
            lr=lr,
            epochs=len(trained.history),
            epoch=trained.epoch,
            device=device.type,
            precision=precision,
            hardware=hardware,
            source=prepared.source,
            data_digest=prepared.digest,
        )
        description = save_model(trained.model, description)
        artifacts.write_csv(artifacts.METRICS / "history.csv", trained.history)
        artifacts.write_json(artifacts.METRICS / "train.json", results(trained, description))
        mirror.upload("train")


@contextmanager
def reported() -> Iterator[None]:
    """Report the error of a launched process to its agent, and end with the agent."""
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the agent receives Ctrl-C too
    try:
        try:
            yield
        except Exception as error:
            report(error)
            sys.exit(1)
    except Stopped:  # also while an error is reported: the agent stops ranks that lost a dead one
        sys.exit(1)


def results(trained: Trained, description: Description) -> Row:
    """The metrics of the training for `dvc metrics show`: those of the kept epoch, and the speed."""
    rows = trained.history
    kept = rows[trained.epoch - 1]
    measured = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return {name: kept[name] for name in measured if kept[name] is not None} | {
        "epochs": len(rows),
        "best_epoch": best_epoch(rows),
        "seconds": sum(row["seconds"] or 0 for row in rows),
        "images_per_second": sum(row["images_per_second"] or 0 for row in rows) / len(rows),
        "parameters": description.parameters,
        "lr": description.lr,
    }


def read_lr() -> float:
    """The learning rate that the stage lr_range wrote. Raises UserError if it is missing."""
    try:
        return float(artifacts.read_json(artifacts.LR)["lr"])
    except (OSError, ValueError, KeyError):
        raise UserError(f"{artifacts.LR} is missing or damaged. Make it with: dvc repro lr_range") from None


if __name__ == "__main__":
    run_stage(main)
