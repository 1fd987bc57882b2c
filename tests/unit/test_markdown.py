"""What a stranger wrote is shown in Markdown as it is: judged by a parser of CommonMark and tables."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from src.errors import printable
from src.markdown import code_block, escape

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = [
    "<b onload=alert(1)>&cat</b>", "&lt;", "a|b", "a\\|b", "\\", "**bold**", "_a_", "__init__", "a_b", "a__b",
    "`code`", "~~x~~",
    "[x](javascript:alert(1))", "![x](http://evil.invalid/x.png)", "<http://evil.invalid>", "<!-- x", "$x$", "#1",
    "@me", "a\n\n# b", "](../figures/x.png)", ":smile:",
]  # fmt: skip


class Shown(HTMLParser):
    """The tags of a rendered text, and what is read of it."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(PARSER.render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cells:
            self.cells[-1] += data


def seen(text: str) -> str:
    """As a page shows it: spaces in a row are one."""
    return " ".join(printable("".join(" " if c.isspace() else c for c in text)).split())


def assert_shown(name: str) -> None:
    sentence = Shown(f"It is {escape(name)} here.")
    assert sentence.tags == ["p"]
    assert seen(sentence.text) == seen(f"It is {name} here.")
    table = Shown(f"| a | b |\n|---|---|\n| {escape(name)} | x |\n")
    assert table.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert [seen(cell) for cell in table.cells] == ["a", "b", seen(name), "x"]
    image = PARSER.render(f"![{escape(name)}](x.png)")
    assert image.count("<img") == 1
    assert 'src="x.png"' in image


@pytest.mark.parametrize("name", HOSTILE)
def test_markup_is_shown(name: str) -> None:
    assert_shown(name)


@given(st.text(st.sampled_from("ab1 <>&|\\*_`~[]()!#:/.@$\"'{}^-+=\n\t\u202eé🐈"), max_size=12) | st.text(max_size=12))
def test_anything_is_shown(name: str) -> None:
    assert_shown(name)


def test_the_parser_obeys_what_is_not_escaped() -> None:
    assert Shown("It is <b>_a_</b> here.").tags != ["p"]
    assert len(Shown("| a | b |\n|---|---|\n| a|b | x |\n").cells) == 4
    assert Shown("| a | b |\n|---|---|\n| a|b | x |\n").cells[2].strip() != "a|b"


def test_plain_text_stays_readable() -> None:
    plain = "golden_retriever, 92.14 % (90.88 % to 93.24 %), 2026-01-02 03:04 UTC; (2 cores) + 1/2 = don't: yes?"
    assert escape(plain) == plain
    assert escape("www.evil.invalid and http://evil.invalid") == "www&#46;evil.invalid and http&#58;//evil.invalid"


@pytest.mark.parametrize("text", ["dvc repro", "a ``` b", "````\n# x\n````", "`"])
def test_a_block_of_code_ends_where_it_should(text: str) -> None:
    block = Shown(f"{code_block(text)}\n\nafter")
    assert block.tags == ["pre", "code", "p"]
    assert block.text.strip() == f"{text}\n\nafter" or block.text.split() == f"{text} after".split()
