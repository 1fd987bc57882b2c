"""Sources of raw data. `FETCHERS` maps `data.source` to the function that fills data/raw."""

from collections.abc import Callable
from pathlib import Path

from src.data.sources import cifar10, folder, shapes
from src.params import Data

# (parameters, folder to fill) -> one line that names the data and its origin
FETCHERS: dict[str, Callable[[Data, Path], str]] = {
    "cifar10": cifar10.fetch,
    "folder": folder.fetch,
    "shapes": shapes.fetch,
}


def check_source(data: Data) -> None:
    """Raise UserError if `data.path` does not exist, or if `data.source` cannot read it."""
    folder.check_path(data)
    if data.source == "cifar10":
        cifar10.local_archive(data)
    if data.source == "folder":
        folder.check_links(data)
