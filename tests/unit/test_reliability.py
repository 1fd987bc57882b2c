"""docs/reliability.md names tests: each is there, and no test of the faults is left out."""

import ast
import re

from tests.conftest import REPOSITORY

DOCUMENT = (REPOSITORY / "docs/reliability.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", DOCUMENT))


def found_in(file: str) -> set[str]:
    nodes = ast.walk(ast.parse((REPOSITORY / file).read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_named_test_exists() -> None:
    assert len(NAMED) > 40
    for file, name in NAMED:
        assert (REPOSITORY / file).is_file(), file
        assert not name or name in found_in(file), f"{file}::{name}"


def test_every_test_of_a_fault_is_named() -> None:
    for path in (REPOSITORY / "tests/faults").glob("test_*.py"):
        file = path.relative_to(REPOSITORY).as_posix()
        named = {name for found, name in NAMED if found == file}
        assert "" in named or not found_in(file) - named, f"{file}: {sorted(found_in(file) - named)}"
