"""SHA-256 of what Python code does: comments, docstrings and layout do not change it, nor does the version of Python.

Standard library only, so that any Python can run this file.
"""

import ast
import hashlib
import json
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

# Fields that do not change what code does: `ctx` follows from the place of a name, `kind` is the u of u"text".
IGNORED = ("ctx", "kind", "type_comment", "type_ignores")


def sha256_sources(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and meanings of Python files, given by path or in folders, in sorted order."""
    digest = hashlib.sha256()
    files = {f for path in paths for f in ([path] if path.is_file() else path.rglob("*.py"))}
    for file in sorted(files):
        digest.update(f"{file.as_posix()}\0".encode() + _digest(file.read_bytes()))
    return digest.hexdigest()


@lru_cache(maxsize=256)  # it takes 0.1 s to parse the code of `train`, which benchmarks ask for again and again
def _digest(source: bytes) -> bytes:
    return hashlib.sha256(meaning(source)).digest()


def meaning(source: bytes) -> bytes:
    """The syntax tree of `source` as JSON, without docstrings and positions; `source` itself if it does not parse.

    `ast.dump` would not do: newer versions of Python know more fields, and leave out others when they are empty.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd literals when it imports the file
            return json.dumps(_plain(ast.parse(source)), sort_keys=True).encode()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source  # Python cannot import such a file, or it is nested too deep


def _plain(value: Any) -> Any:
    """A node, a list of nodes or another value of a field, as content for JSON."""
    if isinstance(value, ast.Constant):
        return ["Constant", type(value.value).__name__, _literal(value.value)]
    if isinstance(value, ast.JoinedStr):
        return ["JoinedStr", *_pieces(value)]
    if isinstance(value, ast.AST):
        fields = {name: _plain(content) for name, content in ast.iter_fields(value) if name not in IGNORED}
        # Newer versions have more fields, which are empty unless new syntax is used.
        return [type(value).__name__, {name: field for name, field in fields.items() if not _empty(field)}]
    if isinstance(value, list):
        return [_plain(item) for item in value if not _says_nothing(item)]
    return value  # a name, a number or None


def _literal(value: Any) -> str:
    """The value of a constant as text, whatever version of Unicode Python knows."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):  # and bool
        return hex(value)  # decimal digits are limited to 4,300
    return ascii(value)


def _pieces(text: ast.JoinedStr) -> list[Any]:
    """The parts of an f-string. Neighbouring constants are joined and empty ones left out, as versions differ there."""
    pieces: list[Any] = []
    for part in map(_plain, text.values):
        if part[0] == "Constant" and pieces and pieces[-1][0] == "Constant":
            pieces[-1] = [*part[:2], pieces[-1][2] + part[2]]
        elif part != ["Constant", "str", ""]:
            pieces.append(part)
    return pieces


def _empty(field: Any) -> bool:
    """Whether a field is absent or empty, such as the format in f"{x:}"."""
    return field is None or field == [] or field == ["JoinedStr"]


def _says_nothing(node: Any) -> bool:
    """Whether a statement is only a string: a docstring or a comment in quotes."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    import sys

    print(sha256_sources(map(Path, sys.argv[1:])))
