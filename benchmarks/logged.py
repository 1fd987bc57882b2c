"""A finished run as MLflow has it: found by its parameters, and read for the tables of docs/results/README.md."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from src import artifacts, record
from src.model.device import Precision
from src.params import Params
from src.results import DataSet, Training
from src.tracking import LONGEST
from src.training.key import model_key

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Parameters that may differ for the same result: the place of the data, whose digest counts, and `auto` or its outcome.
ELSEWHERE = {"data.path", "device"}
COMMIT = "commit"  # tag of the runs that a benchmark made in a copy of the repository: the commit of the original


@dataclass(frozen=True)
class Logged:
    """A run. Accuracies are fractions; `low` and `high` bound the 95 % Wilson interval of the test accuracy."""

    name: str  # of the variant, see benchmarks/recipes.py
    seed: int
    norm: str
    epochs: int  # that were trained
    batch_size: int
    lr: float
    swept: bool  # whether the range test chose the rate
    accuracy: float
    low: float
    high: float
    flip: list[float] | None  # of each image and its mirror image together: accuracy, low, high
    reference: float | None  # recorded by the seed project
    seconds: float  # of training, validation included
    images_per_second: float
    val_accuracy: list[float]  # by epoch; empty without a validation split
    hardware: str
    device: str
    precision: Precision
    versions: str
    date: str
    commit: str
    run_id: str
    images: dict[str, int]  # train, val and test
    data_digest: str
    params_digest: str
    settings_digest: str  # of all parameters except the seed
    model_key: str

    def is_of(self, params: Params, device_type: str) -> bool:
        """Whether `params`, with the code as it is now, would train this model on such a device again."""
        key = model_key(params, self.lr, self.data_digest, self.device, self.precision)
        return (self.params_digest, self.device, self.model_key) == (params_digest(params), device_type, key)


def find(client: "MlflowClient", experiment: str, name: str, params: Params, device_type: str) -> Logged | None:
    """The run of `params` by the code as it is now, finished and whole; of several the newest."""
    wanted = comparable(record.flat_params(params))
    finished = f"params.recipe = '{params.recipe}' and attributes.status = 'FINISHED'"
    for run in client.search_runs([experiment], finished):
        whole = (
            run.data.tags.get("stages", "").split(",") == list(record.STAGES) and "test/accuracy" in run.data.metrics
        )
        if whole and comparable(run.data.params) == wanted:
            logged = read(client, run, name, params)
            if logged.is_of(params, device_type):
                return logged
    return None


def read(client: "MlflowClient", run: "Run", name: str, params: Params) -> Logged:
    """All that the tables and figures need of a whole run, from its metrics, tags and result files."""
    run_id, metrics, tags = run.info.run_id, run.data.metrics, run.data.tags
    with tempfile.TemporaryDirectory() as folder:

        def download(path: Path) -> Path:
            return Path(client.download_artifacts(run_id, path.as_posix(), folder))

        data, trained = DataSet.read(download(DataSet.PATH)), Training.read(download(Training.PATH))

    def history(metric: str) -> list[float]:
        return [m.value for m in sorted(client.get_metric_history(run_id, metric), key=lambda m: m.step)]

    flip = [metrics.get(f"test/flip_accuracy{end}") for end in ("", "_low", "_high")]
    return Logged(
        name=name,
        seed=params.seed,
        norm=params.norm,
        epochs=trained.epochs,
        batch_size=params.train.batch_size,
        lr=trained.lr,
        swept=params.lr == "auto",
        accuracy=metrics["test/accuracy"],
        low=metrics["test/accuracy_low"],
        high=metrics["test/accuracy_high"],
        flip=[value for value in flip if value is not None] or None,
        reference=params.reference.accuracy or None,
        seconds=trained.seconds,
        images_per_second=trained.images_per_second,
        val_accuracy=history("val/accuracy"),
        hardware=tags["hardware"],
        device=tags["device"],
        precision=cast(Precision, tags["precision"]),
        versions=tags["versions"],
        date=f"{datetime.fromtimestamp(run.info.start_time / 1000, UTC):%Y-%m-%d}",
        commit=tags.get(COMMIT) or tags.get("mlflow.source.git.commit", "")[:7],
        run_id=run_id,
        images={"train": data.train, "val": data.val, "test": data.test},
        data_digest=data.digest,
        params_digest=params_digest(params),
        settings_digest=params_digest(params.model_copy(update={"seed": 0})),
        model_key=tags["model_key"],
    )


def comparable(flat: Mapping[str, str]) -> dict[str, str]:
    """Flat parameters as the server keeps them, but for ELSEWHERE."""
    return {key: value[:LONGEST] for key, value in flat.items() if key not in ELSEWHERE}


def params_digest(params: Params) -> str:
    """20 digits that are the same for the same parameters, but for ELSEWHERE."""
    return artifacts.sha256_json(comparable(record.flat_params(params)))[:20]
