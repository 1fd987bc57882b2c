"""The key of a trained model: the same key, the same weights."""

from pathlib import Path

from src.artifacts import sha256_json
from src.model.device import Precision
from src.params import Params
from src.training.sources import sha256_sources

SOURCES = (Path("src/data"), Path("src/model"), Path("src/training"))


def model_key(
    params: Params, lr: float, data_digest: str, device_type: str, precision: Precision, ranks: int = 1
) -> str:
    """20 hexadecimal digits over all that shapes the weights: parameters, rate, data, code, kind of device.

    Left out is what does not shape them: the number of workers, and the settings of optimisers and schedules that are
    not in use. So is the number of devices, in `ranks` processes, which changes the order of additions alone; but not
    where each has batch norms of its own. The code counts by its syntax, so that rewording a comment changes no key. It
    is read from the working directory, which is the root of the workspace.
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
