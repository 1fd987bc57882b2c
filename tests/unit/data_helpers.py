"""Small image files, archives and parameters for the tests of the data."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.params import Data, load_params
from tests.conftest import PARAMS_YAML


def parameters(**changes: Any) -> Data:
    """The `data` section of the committed parameters with changes; nothing outside the tests is read."""
    content = load_params(PARAMS_YAML).data.model_dump()
    return Data.model_validate(content | {"size": 16, "val_share": 0.25} | changes)


def picture(seed: int, size: int = 20) -> bytes:
    """A PNG of noise."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def tree(*names: str) -> dict[str, bytes]:
    """A different picture for each name."""
    return {name: picture(number) for number, name in enumerate(names)}


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    """Names that end with '/' become folders, here and below."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        if name.endswith("/"):
            (path / name).mkdir(parents=True)
            continue
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path
