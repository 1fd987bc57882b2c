"""The files of the stage `train`: what it reads from earlier stages, and what it writes."""

from typing import NamedTuple

import torch

from src import artifacts
from src.data.prepared import Prepared, load
from src.errors import UserError
from src.model.device import Precision, resolve_precision
from src.model.saved import Description, save_model
from src.params import Params
from src.training.history import Row, best_epoch
from src.training.key import model_key
from src.training.loop import Trained


class Task(NamedTuple):
    """Everything that determines the model to train."""

    prepared: Prepared
    lr: float
    device: torch.device
    precision: Precision
    key: str


def read_task(params: Params, device: torch.device, ranks: int) -> Task:
    """Read the task of `params` for `ranks` processes from the files of earlier stages."""
    prepared, lr = load(), read_lr()
    precision = resolve_precision(params.precision, device)
    return Task(prepared, lr, device, precision, model_key(params, lr, prepared.digest, device.type, precision, ranks))


def read_lr() -> float:
    """The learning rate that the stage lr_range wrote. Raises UserError if it is missing."""
    try:
        return float(artifacts.read_json(artifacts.LR)["lr"])
    except (OSError, ValueError, KeyError):
        raise UserError(f"{artifacts.LR} is missing or damaged. Make it with: dvc repro lr_range") from None


def write_results(params: Params, task: Task, hardware: str, trained: Trained) -> None:
    """Write models/model.*, metrics/history.csv and metrics/train.json."""
    description = Description(
        norm=params.norm,
        width=params.model.width,
        strides=params.model.strides,
        weight_standardization=params.model.weight_standardization,
        classes=task.prepared.classes,
        size=task.prepared.size,
        mean=task.prepared.mean,
        std=task.prepared.std,
        model_key=task.key,
        seed=params.seed,
        lr=task.lr,
        epochs=len(trained.history),
        epoch=trained.epoch,
        device=task.device.type,
        precision=task.precision,
        hardware=hardware,
        source=task.prepared.source,
        data_digest=task.prepared.digest,
    )
    description = save_model(trained.model, description)
    artifacts.write_csv(artifacts.METRICS / "history.csv", trained.history)
    artifacts.write_json(artifacts.METRICS / "train.json", results(trained, description))


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
