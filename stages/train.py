"""Train the model, or go on from the last whole epoch: `dvc repro train`."""

from tqdm import tqdm

from src import artifacts
from src.data.prepared import load
from src.errors import UserError
from src.model.device import hardware_name, resolve_device, resolve_precision
from src.model.saved import Description, save_model
from src.params import Params
from src.training.checkpoint import model_lock, prune
from src.training.history import Row, best_epoch, table_head, table_line
from src.training.key import model_key
from src.training.loop import train
from stages import run_stage


def main(params: Params) -> None:
    """data/prepared and models/lr.json -> models/model.*, metrics/history.csv, metrics/train.json"""
    prepared = load()
    lr = read_lr()
    device = resolve_device(params.device)
    precision = resolve_precision(params.precision, device)
    key = model_key(params, lr, prepared.digest, device.type, precision)
    checkpoints, locks = artifacts.root() / ".checkpoints", artifacts.root() / ".locks"

    def on_epoch(row: Row) -> None:
        tqdm.write(table_line(row))

    with model_lock(locks, key, tqdm.write):
        tqdm.write(f"{params.norm} norm, rate {lr:g}, {precision} on {hardware_name(device)}, model {key}")
        tqdm.write(table_head())
        trained = train(prepared, params, lr, device, precision, checkpoints / key, on_epoch, tqdm.write)
        prune(checkpoints, locks)

    description = Description(
        norm=params.norm,
        width=params.model.width,
        strides=params.model.strides,
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
        hardware=hardware_name(device),
        source=prepared.source,
        data_digest=prepared.digest,
    )
    description = save_model(trained.model, description)
    artifacts.write_csv(artifacts.METRICS / "history.csv", trained.history)
    kept = trained.history[trained.epoch - 1]
    measured = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    seconds = sum(row["seconds"] or 0 for row in trained.history)
    results = {name: kept[name] for name in measured if kept[name] is not None} | {
        "epochs": len(trained.history),
        "best_epoch": best_epoch(trained.history),
        "seconds": seconds,
        "images_per_second": sum(row["images_per_second"] or 0 for row in trained.history) / len(trained.history),
        "parameters": description.parameters,
        "lr": lr,
    }
    artifacts.write_json(artifacts.METRICS / "train.json", results)


def read_lr() -> float:
    """The rate that the stage lr_range decided on."""
    try:
        return float(artifacts.read_json(artifacts.LR)["lr"])
    except (OSError, ValueError, KeyError):
        raise UserError(f"{artifacts.LR} is missing or damaged. Make it with: dvc repro lr_range") from None


if __name__ == "__main__":
    run_stage(main)
