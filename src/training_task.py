"""The files of the stage `train`: what it reads from earlier stages, and what it writes."""

from typing import NamedTuple

import torch

from src import artifacts, results
from src.data.prepared import Prepared, load
from src.errors import UserError
from src.model.device import Precision, resolve_precision
from src.model.saved import Description, save_model
from src.params import Params
from src.training.history import best_epoch
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
    """The learning rate that the stage lr_range wrote. Raises UserError if it is missing or damaged."""
    try:
        return results.LearningRate.read().lr
    except OSError:
        raise UserError(f"{artifacts.LR} is missing. Make it with: dvc repro lr_range") from None


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
    rows = [results.Epoch.model_validate(row) for row in trained.history]
    kept = rows[trained.epoch - 1]
    validation = {"val_loss": kept.val_loss, "val_accuracy": kept.val_accuracy} if kept.val_loss is not None else {}
    results.Epoch.write_all(rows)
    results.Training(
        train_loss=kept.train_loss,
        train_accuracy=kept.train_accuracy,
        **validation,
        epochs=len(rows),
        best_epoch=best_epoch(trained.history),
        seconds=sum(row.seconds for row in rows),
        images_per_second=sum(row.images_per_second for row in rows) / len(rows),
        parameters=description.parameters,
        lr=description.lr,
    ).write()
