"""Train the model, or go on from the last whole epoch: `dvc repro train`."""

from tqdm import tqdm

from src import artifacts
from src.data.prepared import load
from src.errors import UserError
from src.model.device import hardware_name, resolve_device, resolve_precision
from src.model.saved import Description, save_model
from src.params import Params
from src.tracking import Mirror
from src.training.checkpoint import has_checkpoint, model_lock, prune
from src.training.history import Row, best_epoch, table_head, table_line
from src.training.key import model_key
from src.training.loop import Trained, train
from stages import compute_turn, run_stage


def main(params: Params) -> None:
    """data/prepared and models/lr.json -> models/model.*, metrics/history.csv, metrics/train.json"""
    prepared = load()
    lr = read_lr()
    device = resolve_device(params.device)
    precision = resolve_precision(params.precision, device)
    key = model_key(params, lr, prepared.digest, device.type, precision)
    checkpoints, locks = artifacts.checkpoints(), artifacts.root() / ".locks"

    with model_lock(locks, key, tqdm.write), Mirror(params, key, again=not has_checkpoint(checkpoints / key)) as mirror:
        mirror.upload("lr_range")

        def on_epoch(row: Row) -> None:
            tqdm.write(table_line(row))
            artifacts.write_json(checkpoints / key / "last.json", row)  # a sweep decides by it who goes on
            mirror.epoch(row)

        tqdm.write(f"{params.norm} norm, rate {lr:g}, {precision} on {hardware_name(device)}, model {key}")
        tqdm.write(table_head())
        with compute_turn(device):
            trained = train(prepared, params, lr, device, precision, checkpoints / key, on_epoch, tqdm.write)
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
            hardware=hardware_name(device),
            source=prepared.source,
            data_digest=prepared.digest,
        )
        description = save_model(trained.model, description)
        artifacts.write_csv(artifacts.METRICS / "history.csv", trained.history)
        artifacts.write_json(artifacts.METRICS / "train.json", results(trained, description))
        mirror.upload("train")


def results(trained: Trained, description: Description) -> Row:
    """What `dvc metrics show` says of the training: the epoch whose weights are kept, and the speed."""
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
    """The rate that the stage lr_range decided on."""
    try:
        return float(artifacts.read_json(artifacts.LR)["lr"])
    except (OSError, ValueError, KeyError):
        raise UserError(f"{artifacts.LR} is missing or damaged. Make it with: dvc repro lr_range") from None


if __name__ == "__main__":
    run_stage(main)
