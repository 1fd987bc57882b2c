"""Text of a stranger in Markdown: shown as it is, and not obeyed."""

import re

from src.errors import printable

# Whatever begins a structure within a line, in CommonMark, GitHub's tables and addresses, or HTML. An underscore within
# a word and a colon before a space or a digit begin none. Names never begin a line, so that `-`, `+` and `1.` may stay.
SPECIAL = re.compile(r"""[!"#$&*<>@\[\\\]^`{|}~]|(?<![^\W_])_|_(?![^\W_])|:(?=[^\s\d])|(?<=www)\.""", re.IGNORECASE)


def escape(text: str) -> str:
    """`text` for any place within a line of Markdown, a table's cell included. a_b|c -> a_b&#124;c

    Numeric references of HTML mean the character itself in every dialect; which characters a backslash escapes, and
    whether in a table, differs. Line breaks become spaces, and what cannot be shown its escape.
    """
    return SPECIAL.sub(lambda match: f"&#{ord(match[0])};", printable(re.sub(r"\s", " ", text)))


def code_block(text: str, language: str = "") -> str:
    """`text` as a block of code, which may itself hold such a block."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"
