"""Digests of files, compared with what they must be."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def mismatch(path: Path, expected: Mapping[str, str]) -> str:
    """'' when `path` has every digest of `expected` (hashlib name -> hexadecimal), else a sentence with both."""
    for name, wanted in expected.items():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != wanted:
            return f"its {name} is {found}, expected {wanted}"
    return ""
