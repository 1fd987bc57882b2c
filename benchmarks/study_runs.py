"""Finished runs of the study as files: they can be compared anywhere, without the store, the models or the images.

One compressed NumPy file per run holds its description as JSON, its predictions and its maps of the sample of test
images. One more file holds these images, which the figure shows.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.logged import Logged
from src import artifacts, results
from src.comparison.groups import Predictions, StoredRun
from src.comparison.images import Sample
from src.errors import UserError

SAMPLE = "sample.npz"
MILLION = 1_000_000  # predictions.csv has six digits of each confidence


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run of the study, with its maps at `layer` by `method`."""

    about: Logged
    run: StoredRun
    data_name: str
    method: str
    layer: str
    maps: npt.NDArray[np.uint8]  # (N, S, S), in 255ths, of the images of the sample


def write_run(file: Path, finished: Finished) -> None:
    """Write a run atomically."""
    run = finished.run
    kept = ("id", "name", "params", "metrics", "curves", "data", "gradcam", "hardware")
    about = {
        "about": asdict(finished.about),
        "run": {name: _plain(getattr(run, name)) for name in kept},
        "data_name": finished.data_name,
        "method": finished.method,
        "layer": finished.layer,
    }
    predictions = run.predictions
    classes, codes = np.unique(np.stack((predictions.true, predictions.predicted)), return_inverse=True)
    true, predicted = codes.reshape(2, -1).astype(np.min_scalar_type(len(classes)))
    _write(
        file,
        about=_text(about),
        classes=classes,
        true=true,
        predicted=predicted,
        confidence=np.rint(MILLION * predictions.confidence).astype(np.int32),
        maps=finished.maps,
    )


def read_run(file: Path) -> Finished:
    """Read what `write_run` wrote; UserError if it is damaged."""
    with _reading(file) as content:
        about, classes = json.loads(content["about"].tobytes()), content["classes"]
        confidence = content["confidence"].astype(np.float64) / MILLION
        predictions = Predictions(classes[content["true"]], classes[content["predicted"]], confidence)
        measures = about["run"]["gradcam"]
        maps = results.Maps.model_validate(measures) if measures else None
        return Finished(
            about=Logged(**about["about"]),
            run=StoredRun(predictions=predictions, **about["run"] | {"gradcam": maps}),
            data_name=about["data_name"],
            method=about["method"],
            layer=about["layer"],
            maps=content["maps"],
        )


def write_sample(file: Path, sample: Sample) -> None:
    """Write the sample of test images atomically."""
    _write(file, indices=sample.indices, images=sample.images, files=_text({"files": list(sample.files)}))


def read_sample(file: Path) -> Sample:
    """Read what `write_sample` wrote; UserError if it is missing or damaged."""
    with _reading(file) as content:
        return Sample(content["indices"], content["images"], json.loads(content["files"].tobytes())["files"])


def _plain(value: Any) -> Any:
    if isinstance(value, results.Maps):
        return value.model_dump(exclude_unset=True)
    return dict(value) if isinstance(value, Mapping) else value


def _text(content: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def _write(file: Path, **arrays: npt.NDArray[Any]) -> None:
    with artifacts.atomic(file) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


@contextmanager
def _reading(file: Path) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """The arrays of a file by name; UserError if something goes wrong in the block."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            yield content
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{file} is missing or damaged ({error}). Restore it with git, or delete it and run the study again"
        ) from None
