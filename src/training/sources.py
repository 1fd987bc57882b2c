"""SHA-256 of Python code that ignores comments, docstrings, layout and the version of Python.

This file only needs the standard library, so any Python can run it.
"""

import ast
import hashlib
import json
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

# Fields that do not change behaviour: `ctx` follows from the position of a name, `kind` is the u of u"text".
IGNORED = ("ctx", "kind", "type_comment", "type_ignores")


def sha256_sources(paths: Iterable[Path]) -> str:
    """SHA-256 over the paths and meanings of the Python files at or below `paths`, in sorted order."""
    digest = hashlib.sha256()
    files = {f for path in paths for f in ([path] if path.is_file() else path.rglob("*.py"))}
    for file in sorted(files):
        digest.update(f"{file.as_posix()}\0".encode() + _digest(file.read_bytes()))
    return digest.hexdigest()


@lru_cache(maxsize=256)  # parsing the code of `train` takes 0.1 s, and benchmarks do it often
def _digest(source: bytes) -> bytes:
    return hashlib.sha256(meaning(source)).digest()


def meaning(source: bytes) -> bytes:
    """The syntax tree of `source` as JSON without docstrings and positions, or `source` itself if it does not parse.

    The output of `ast.dump` depends on the version of Python: newer versions have more fields and omit empty ones.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about odd literals when it imports the file
            return json.dumps(_plain(ast.parse(source)), sort_keys=True).encode()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source  # Python cannot import the file, or its code is nested too deeply


def _plain(value: Any) -> Any:
    """Convert a node, a list of nodes or another field value to JSON content."""
    if isinstance(value, ast.Constant):
        return ["Constant", type(value.value).__name__, _literal(value.value)]
    if isinstance(value, ast.JoinedStr):
        return ["JoinedStr", *_pieces(value)]
    if isinstance(value, ast.AST):
        fields = {name: _plain(content) for name, content in ast.iter_fields(value) if name not in IGNORED}
        # Newer versions of Python have more fields, which are empty unless the code uses new syntax.
        return [type(value).__name__, {name: field for name, field in fields.items() if not _empty(field)}]
    if isinstance(value, list):
        return [_plain(item) for item in value if not _says_nothing(item)]
    return value  # a name, a number or None


def _literal(value: Any) -> str:
    """The value of a constant as text that does not depend on Python's Unicode version."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):  # and bool
        return hex(value)  # Python limits decimal digits to 4,300
    return ascii(value)


def _pieces(text: ast.JoinedStr) -> list[Any]:
    """The parts of an f-string, with adjacent constants joined and empty ones removed: Python versions differ there."""
    pieces: list[Any] = []
    for part in map(_plain, text.values):
        if part[0] == "Constant" and pieces and pieces[-1][0] == "Constant":
            pieces[-1] = [*part[:2], pieces[-1][2] + part[2]]
        elif part != ["Constant", "str", ""]:
            pieces.append(part)
    return pieces


def _empty(field: Any) -> bool:
    """Whether a field is None or empty, such as the format in f"{x:}"."""
    return field is None or field == [] or field == ["JoinedStr"]


def _says_nothing(node: Any) -> bool:
    """Whether a statement is only a string, such as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    import sys

    print(sha256_sources(map(Path, sys.argv[1:])))
