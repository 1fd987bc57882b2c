"""Train the model, or resume from the last completed epoch: `dvc repro train`.

On several devices, one process per device trains (src/distributed/training.py). Only rank 0 writes outputs and talks to
MLflow.
"""

from contextlib import nullcontext

from tqdm import tqdm

from src import artifacts
from src.distributed.training import on_devices
from src.model.device import hardware_name, resolve_device
from src.params import Params
from src.runtime.run import run_stage
from src.runtime.slots import compute_turn
from src.tracking import Mirror
from src.training.checkpoint import has_checkpoint, prune
from src.training.history import Row, table_head, table_line
from src.training.loop import train
from src.training.ranks import Ranks
from src.training_task import Task, write_results
from src.wording import norm_name


def main(params: Params) -> None:
    """data/prepared and models/lr.json -> models/model.*, metrics/history.csv, metrics/train.json"""
    on_devices(params, resolve_device(params.device), make)


def make(params: Params, task: Task, ranks: Ranks) -> None:
    """Train `task`, alone or as one of several ranks. A process that is alone or rank 0 writes and uploads outputs."""
    prepared, lr, device, precision, key = task
    checkpoints = artifacts.checkpoints() / key
    if not ranks.first:
        train(prepared, params, lr, device, precision, checkpoints, lambda _: None, lambda _: None, ranks)
        return

    with Mirror(params, key, again=not has_checkpoint(checkpoints)) as mirror:
        mirror.upload("lr_range")

        def on_epoch(row: Row) -> None:
            tqdm.write(table_line(row))
            artifacts.write_json(checkpoints / "last.json", row)  # a sweep reads it to stop poor trials early
            mirror.epoch(row)

        hardware = hardware_name(device) + (f", {ranks.count} processes" if ranks.count > 1 else "")
        tqdm.write(f"{norm_name(params.norm)}, learning rate {lr:g}, {precision} on {hardware}, model {key}")
        tqdm.write(table_head())
        with compute_turn(device) if ranks.count == 1 else nullcontext():
            trained = train(prepared, params, lr, device, precision, checkpoints, on_epoch, tqdm.write, ranks)
        prune(artifacts.checkpoints(), artifacts.root() / ".locks")
        write_results(params, task, hardware, trained)
        mirror.upload("train")


if __name__ == "__main__":
    run_stage(main)
