"""Escape untrusted text for Markdown."""

import re

from src.errors import printable

# Everything that starts markup within a line, in CommonMark, GitHub's tables and addresses, or HTML. An underscore
# within a word and a colon before a space or a digit do not. Names never start a line, so `-`, `+` and `1.` are safe.
SPECIAL = re.compile(r"""[!"#$&*<>@\[\\\]^`{|}~]|(?<![^\W_])_|_(?![^\W_])|:(?=[^\s\d])|(?<=www)\.""", re.IGNORECASE)


def escape(text: str) -> str:
    """Escape `text` for any place within a line of Markdown, including table cells. a_b|c -> a_b&#124;c

    HTML's numeric references mean the character itself in every dialect, while backslash escapes differ. Line breaks
    become spaces, and unprintable characters their escapes.
    """
    return SPECIAL.sub(lambda match: f"&#{ord(match[0])};", printable(re.sub(r"\s", " ", text)))


def code_block(text: str, language: str = "") -> str:
    """`text` as a code block. The text may itself contain code blocks."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"
