"""Links, commands, make targets, parameters and files that documents name exist. The reference leaves nothing out."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from src.config.recipes import recipe_files
from tests.conftest import REPOSITORY
from tests.unit.test_dvc_graph import LEAVES, STAGES, outs

PAGES = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "own/README.md"]
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
GROUPS = {leaf.rpartition(".")[0] for leaf in LEAVES} | {leaf.partition(".")[0] for leaf in LEAVES}
FILE = re.compile(r"(?:src|stages|commands|tests|docs|deploy)/[\w./-]+\.\w+")
KEY = re.compile(rf"(?:{'|'.join(sorted(GROUPS - {''}))})(?:\.[a-z_0-9]+)+")


class Page(NamedTuple):
    links: list[str]
    code: list[str]  # spans, and the lines of blocks that are no diffs
    anchors: set[str]


def read(path: Path) -> Page:
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    inner = list(children(tokens))
    blocks = [token.content.splitlines() for token in tokens if token.type == "fence" and token.info != "diff"]
    spans = [token.content for token in inner if token.type == "code_inline"]
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return Page(
        links=[str(token.attrs["href"]) for token in inner if token.type == "link_open"]
        + [str(token.attrs["src"]) for token in inner if token.type == "image"],
        code=[*spans, *(line for block in blocks for line in block)],
        anchors={re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings},
    )


def children(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_links_lead_somewhere(path: Path) -> None:
    for link in read(path).links:
        if re.match(r"\w+:|%60", link):  # an address, or a footnote, which CommonMark takes for a link
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in read(target).anchors, link


def test_commands_and_parameters_exist(path: Path) -> None:
    for code in read(path).code:
        for module in re.findall(
            r"python -m ((?:commands|recipes|benchmarks|stages|tests)(?:\.[a-z]\w*)*)(?!\.)", code
        ):
            file = REPOSITORY / module.replace(".", "/")
            assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), code
        for target in re.findall(r"^make (?:[A-Z]+=\S+ )*([a-z-]+)", code):
            assert target in TARGETS, code
        for key in re.findall(r"-S \"?(?!key=)([a-z_][\w.]*)=", code):
            assert key in LEAVES, code


def test_files_and_keys_exist(path: Path) -> None:
    for code in read(path).code:
        if FILE.fullmatch(code):
            assert (REPOSITORY / code).exists(), code
        if KEY.fullmatch(code) and not code.endswith((".py", ".json", ".csv", ".md", ".yaml")):
            assert code in LEAVES or code in GROUPS, code


def test_the_reference_is_complete() -> None:
    reference = REPOSITORY / "docs/reference"
    commands = " ".join(read(reference / "commands.md").code)
    for file in (REPOSITORY / "commands").glob("[a-z]*.py"):
        assert f"python -m commands.{file.stem}" in commands
    for target in TARGETS - {"postgresql"}:
        assert f"make {target}" in commands
    assert recipe_files().keys() <= set(read(reference / "recipes.md").code)
    files = read(reference / "outputs.md").code
    for out in [str(out) for stage in STAGES for out in outs(stage)]:
        assert out in files
