"""Images for benchmarks that train without the pipeline: decoded or drawn once, then kept."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import params_with
from src.data import prepared
from src.data.prepare import prepare
from src.data.sources import FETCHERS


def prepare_once(folder: Path, changes: dict[str, Any]) -> None:
    """Write the images of params.yaml with dotted `changes` into `folder`, as the pipeline prepares them.

    Nothing happens if `folder` has images already. `src.data.prepared.load` reads them.
    """
    if (folder / prepared.META).exists():
        return
    data = params_with(changes).data
    with tempfile.TemporaryDirectory() as raw:
        FETCHERS[data.source](data, Path(raw))
        prepared.save(prepare(Path(raw), data)[0], folder)
