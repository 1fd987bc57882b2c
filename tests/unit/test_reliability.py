"""Documents name tests: each is there, and docs/reliability.md leaves no test of the faults out."""

import ast
import re

import pytest

from tests.conftest import REPOSITORY


def named_in(document: str) -> set[tuple[str, str]]:
    """File and test, '' for all of a file, wherever a document in docs/ names them."""
    text = (REPOSITORY / "docs" / document).read_text(encoding="utf-8")
    return set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text))


def found_in(file: str) -> set[str]:
    nodes = ast.walk(ast.parse((REPOSITORY / file).read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize(("document", "least"), [("reliability.md", 40), ("scale.md", 10)])
def test_every_named_test_exists(document: str, least: int) -> None:
    named = named_in(document)
    assert len(named) > least
    for file, name in named:
        assert (REPOSITORY / file).is_file(), file
        assert not name or name in found_in(file), f"{file}::{name}"


def test_every_test_of_a_fault_is_named() -> None:
    for path in (REPOSITORY / "tests/faults").glob("test_*.py"):
        file = path.relative_to(REPOSITORY).as_posix()
        named = {name for found, name in named_in("reliability.md") if found == file}
        assert "" in named or not found_in(file) - named, f"{file}: {sorted(found_in(file) - named)}"
