"""The hash of code: what it does counts, how it is written does not, and every version of Python agrees."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.training.sources import meaning, sha256_sources
from tests.conftest import REPOSITORY

FILES = sorted(file.relative_to(REPOSITORY).as_posix() for file in (REPOSITORY / "src").rglob("*.py"))
LOOP = (REPOSITORY / "src/training/loop.py").read_bytes()

SAME = [
    ("x = 1", "x = 1  # a comment\n\n"),
    ("x = 1", '"""Of the module."""\nx = 1'),
    ('def f():\n    """One."""\n    return 1', 'def f():\n    """Two\n\n    lines."""\n    return 1'),
    ('async def f():\n    """One."""\n    return 1', "async def f():\n    return 1"),
    ('class A:\n    """One."""\n    x = 1', "class A:\n    x = 1\n    'what x is'"),
    ("f(a, b)", "f(\n    a,\n    b,\n)"),
    ("x = 'a'", 'x = "a"'),
    ("x = 'ab'", "x = 'a' 'b'"),
    ("x = 255", "x = 0xff"),
    ("x = 1000.0", "x = 1e3"),
    ("x = 'é'", "# -*- coding: utf-8 -*-\nx = '\\u00e9'"),
    ("x = f'a{b}c'", "x = 'a' f'{b}' '' f'c'"),
    ("x = f'{b}'", "x = f'{b:}'"),
    ("x = u'a'", "x = 'a'"),
    ("x: int = 1", "x: int = 1  # type: ignore"),
]
DIFFERENT = [
    ("x = 1", "x = 2"),
    ("x = 1", "x = True"),
    ("x = 1", "x = 1.0"),
    ("x = 1", "x = -1"),
    ("x = 1", "x = 1j"),
    ("x = 1", "x = '1'"),
    ("x = '0x1'", "x = 1"),
    ("x = 'a'", "x = b'a'"),
    ("x = 'a'", "x = 'a '"),
    ("x = 'a'", "x = f'a'"),
    ("x = None", "x = ..."),
    ("x = None", "x = 'None'"),
    ("x = '\\ud800'", "x = '\\ud801'"),
    (f"x = 0x1{'0' * 5000}", f"x = 0x2{'0' * 5000}"),
    ("x = 1", "y = 1"),
    ("x = a.b", "x = a.c"),
    ("x = a + b", "x = a - b"),
    ("x = a + b", "x = b + a"),
    ("x = a < b", "x = a <= b"),
    ("x = a and b", "x = a or b"),
    ("x += 1", "x -= 1"),
    ("x = [a]", "x = (a,)"),
    ("x = {**a}", "x = {None: a}"),
    ("x = a[1:]", "x = a[:1]"),
    ("f(a, b)", "f(b, a)"),
    ("f(a)", "f(x=a)"),
    ("f(*a)", "f(**a)"),
    ("if a:\n    b", "while a:\n    b"),
    ("if a:\n    b\nelse:\n    c", "if a:\n    b\nc"),
    ("def f(a): a", "def f(a=1): a"),
    ("def f(a, b=1): a", "def f(a=1, *, b): a"),
    ("def f(a): a", "def f(*, a): a"),
    ("def f(a): a", "def f(a, /): a"),
    ("def f(*, a, b=1): a", "def f(*, a=1, b): a"),
    ("def f(): a", "@g\ndef f(): a"),
    ("@g\n@h\ndef f(): a", "@h\n@g\ndef f(): a"),
    ("def f(): a", "async def f(): a"),
    ("class A: x: int", "class A: x: str"),
    ("class A(B): x = 1", "class A: x = 1"),
    ("x = f'{a}'", "x = f'{a!r}'"),
    ("x = f'{a:.2f}'", "x = f'{a:.3f}'"),
    ("x = f'{a}{b}'", "x = f'{b}{a}'"),
    ("x = f'a{b}'", "x = f'{b}a'"),
    ("import a", "from a import b"),
    ("from .a import b", "from ..a import b"),
    ("match a:\n    case None: b", "match a:\n    case True: b"),
    ("x = 'a'\n'b'", "x = 'a' 'b'"),
    ("x = 1", "x = ("),  # a syntax error
    ("x = (", "x = (("),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_how_code_is_written_does_not_count(one: str, other: str) -> None:
    assert one != other
    assert meaning(one.encode()) == meaning(other.encode())


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_code_does_counts(one: str, other: str) -> None:
    assert meaning(one.encode()) != meaning(other.encode())


def test_our_code_without_comments_and_layout_is_the_same() -> None:
    for file in FILES:
        source = (REPOSITORY / file).read_bytes()
        assert meaning(source) == meaning(ast.unparse(ast.parse(source)).encode()), file


def test_every_constant_of_the_training_loop_counts() -> None:
    start, seen = meaning(LOOP), {LOOP}
    tree = ast.parse(LOOP)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float) and id(node) not in docstrings:
            before = node.value
            node.value = f"{before}x" if isinstance(before, str) else before + 1
            changed = ast.unparse(tree).encode()
            node.value = before
            assert meaning(changed) != start, (before, node.lineno)
            seen.add(changed)
    assert len(seen) > 50


@pytest.mark.parametrize(
    "source", [b"x = (", b"def f(:\n", b"\0", b"\xff", b"# coding: no such\n", b"x = " + b"(" * 500 + b")" * 500]
)
def test_a_file_that_is_no_python_is_hashed_by_its_bytes(source: bytes, tmp_path: Path) -> None:
    (tmp_path / "scratch.py").write_bytes(source)
    before = sha256_sources([tmp_path])
    (tmp_path / "scratch.py").write_bytes(source + b"\n")
    assert sha256_sources([tmp_path]) != before


def test_warnings_of_a_file_are_left_to_its_import() -> None:
    assert meaning(b"x = '\\d'; y = 1 is 1") == meaning(b"x = '\\\\d'; y = 1 is 1")


def test_names_of_files_count(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    before = sha256_sources([tmp_path])
    assert sha256_sources([tmp_path / "a.py"]) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert sha256_sources([tmp_path]) != before


def other_pythons() -> dict[str, str]:
    """Interpreters of other versions from 3.11 on, in PATH and in pyenv, by version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = filter(None, (shutil.which(f"python3.{minor}") for minor in range(11, 20)))
    ask = "import sys; print('%d.%d' % sys.version_info[:2] if sys.version_info >= (3, 11) else '')"
    found = {}
    for python in [*named, *map(str, pyenv.glob("versions/*/bin/python"))]:
        said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False).stdout.strip()
        if said and said != "{}.{}".format(*sys.version_info):  # a shim of pyenv may lead nowhere
            found[said] = python
    return found


def test_every_version_of_python_at_hand_agrees(tmp_path: Path) -> None:
    others = other_pythons()
    if not others:
        pytest.skip("there is no other Python from 3.11 on, neither in PATH nor in pyenv")
    for number, source in enumerate(text for pair in SAME + DIFFERENT for text in pair):
        (tmp_path / f"{number:03}.py").write_text(source, encoding="utf-8")

    def hashed(python: str) -> str:
        command = [python, "-I", "src/training/sources.py", "src", "stages", "tests/unit", str(tmp_path)]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    here = hashed(sys.executable)
    assert {version: hashed(python) for version, python in others.items()} == dict.fromkeys(others, here)
