"""CIFAR-10 (Krizhevsky, 2009): the official Python archive, verified before it is opened."""

import shutil
from pathlib import Path

from src import artifacts
from src.addresses import redacted
from src.data.sources.digests import mismatch
from src.data.sources.download import DownloadError, download
from src.errors import UserError
from src.params import OWN, Data, setting

ARCHIVE = "cifar-10-python.tar.gz"
ADDRESS = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
DIGESTS = {
    "md5": "c58f30108f718f92721af3b95e74349a",
    "sha256": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
}


def fetch(data: Data, destination: Path) -> str:
    """Put the verified archive into `destination`, from `data.path` if it is there, else from the network."""
    local = local_archive(data)
    if local:
        if problem := mismatch(local, DIGESTS):
            raise UserError(
                f"data.path: {local} is not the official {ARCHIVE}, because {problem}.\n"
                f"Get it from {ADDRESS}. To use your own images, run: dvc exp run -S data.source=folder"
            )
        with artifacts.atomic(destination / ARCHIVE) as temporary:
            shutil.copyfile(local, temporary)
        return f"CIFAR-10 from {local}"
    try:
        address = download([ADDRESS, *data.mirrors], destination / ARCHIVE, DIGESTS)
    except DownloadError as error:
        raise UserError(
            f"CIFAR-10 could not be downloaded:\n{error}\nWithout the download you can run one of these:\n"
            f"  dvc exp run -S data.path=/path/to/{ARCHIVE}   (uses an archive that you have)\n"
            "  python -m recipes quick   (uses generated images)"
        ) from None
    return f"CIFAR-10 from {redacted(address)}"


def local_archive(data: Data) -> Path | None:
    """The archive at or in `data.path`. None if `data.path` is not set. Raises UserError for any other path."""
    path = Path(data.path)
    local = path / ARCHIVE if path.is_dir() else path
    if local.is_file():
        return local
    if path == Path(OWN):
        return None
    raise UserError(
        f"data.source is cifar10, but {path} neither is nor contains {ARCHIVE}.\n"
        "  To use your own images, add: -S data.source=folder\n"
        f"  To download CIFAR-10, add: {setting('data.path', OWN)}"
    )
