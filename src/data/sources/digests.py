"""Comparison of file digests with their expected values."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def mismatch(path: Path, expected: Mapping[str, str]) -> str:
    """'' if `path` has every digest of `expected` (hashlib name -> hexadecimal), else a message with both digests."""
    for name, wanted in expected.items():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != wanted:
            return f"its {name} is {found}, expected {wanted}"
    return ""
