"""The key of a trained model. Models with the same key have the same weights."""

from pathlib import Path

from src.artifacts import sha256_json
from src.model.device import Precision
from src.params import Params
from src.training.sources import sha256_sources

SOURCES = (Path("src/data"), Path("src/model"), Path("src/training"))


def model_key(
    params: Params, lr: float, data_digest: str, device_type: str, precision: Precision, ranks: int = 1
) -> str:
    """Hash everything that shapes the weights into 20 hexadecimal digits.

    That is the parameters, the rate, the data, the code and the type of device. The number of workers is left out, and
    so are the settings of unused optimisers and schedules. The number of processes (`ranks`) only changes the order of
    additions and is left out too, except if each process has its own batch norms. The code counts by its syntax tree,
    so rewording a comment keeps the key. It is read from the working directory, the root of the workspace.
    """
    train = params.train.model_dump(exclude={"workers", "devices", "nodes", "sync_batch_norm"})
    if params.norm == "batch" and not params.train.sync_batch_norm and ranks > 1:
        train["batch_norms"] = ranks
    shaping = {
        "norm": params.norm,
        "seed": params.seed,
        "lr": lr,
        "device": device_type,
        "precision": precision,
        "augment": params.augment,
        "model": params.model.model_dump(),
        "train": train,
        "optimizer": params.optimizer.model_dump()[params.train.optimizer],
        "schedule": params.schedule.model_dump()[params.train.schedule],
        "data": data_digest,
        "code": sha256_sources(SOURCES),
    }
    return sha256_json(shaping)[:20]
