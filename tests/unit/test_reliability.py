"""The tests and footnotes that documents name exist. Every test of a fault is named in reliability.md."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
RELIABILITY = REPOSITORY / "docs/explanation/reliability.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
FOOTNOTE = re.compile(r"^\[\^([\w-]+)\]: (.*(?:\n    .*)*)", re.MULTILINE)
CITED = re.compile(r"\[\^([\w-]+)\](?!:)")


def named_in(document: Path) -> set[tuple[str, str]]:
    """File and test, '' for all of a file, wherever a document names them."""
    return set(TEST.findall(document.read_text(encoding="utf-8")))


def found_in(file: str) -> set[str]:
    nodes = ast.walk(ast.parse((REPOSITORY / file).read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_what_a_document_names_exists(document: Path) -> None:
    for file, name in named_in(document):
        assert (REPOSITORY / file).is_file(), file
        assert not name or name in found_in(file), f"{file}::{name}"
    text = document.read_text(encoding="utf-8")
    assert {name for name, _ in FOOTNOTE.findall(text)} == set(CITED.findall(text))


def test_every_promise_names_its_tests() -> None:
    text = RELIABILITY.read_text(encoding="utf-8")
    footnotes = dict(FOOTNOTE.findall(text))
    promises = [line.split(" | ")[0] for line in text.splitlines() if re.match(r"\| (?!promise)", line)]
    assert len(promises) > 40
    for promise in promises:
        cited = CITED.findall(promise)
        assert cited, promise
        assert all(TEST.search(footnotes[name]) for name in cited), promise


def test_every_test_of_a_fault_is_named() -> None:
    for path in (REPOSITORY / "tests/faults").glob("test_*.py"):
        file = path.relative_to(REPOSITORY).as_posix()
        named = {name for found, name in named_in(RELIABILITY) if found == file}
        assert "" in named or not found_in(file) - named, f"{file}: {sorted(found_in(file) - named)}"
