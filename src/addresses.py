"""Web addresses: what is wrong with one, and how it is shown without user and password."""

import re
from urllib.parse import SplitResult, urlsplit

# The user and password of an address within a text. A password may hold `/` and `@` that should have been encoded, so
# everything up to the last @ goes if a colon comes first. An address with a port and a later @ loses its host too: that
# hides too much, and never too little.
USER = re.compile(r"(?<=://)(?:[^\s/?#:]*:\S*|[^\s/?#]*)@")
ENCODE = (
    "its user or password has a character that an address cannot hold, or its path has an @. Write / as %2F, ? as %3F, "
    "# as %23, \\ as %5C, a space as %20 and @ as %40"
)


def redacted(text: str) -> str:
    """`text` with `***` for the user and password of each address in it, as in http://user:password@host.

    Every text that names an address or repeats another program's error goes through here before it is shown or written.
    """
    return USER.sub("***@", text)


def hidden(address: str) -> str:
    """A malformed address without user and password: they end at the last @, wherever they begin."""
    return re.sub(r"^([A-Za-z][\w+.-]*:/+)?.*@", r"\1***@", address, flags=re.DOTALL)


def user_problem(address: str) -> str:
    """What is wrong with the user or password of an http address; '' if nothing is, or if it has none.

    Programs disagree where a malformed one ends, and show the rest of a password as host or path.
    """
    if "@" not in address:
        return ""
    parts = _parts(address)
    odd = parts is None or (":" in parts.netloc and "@" in parts.path + parts.query + parts.fragment)
    return ENCODE if odd or "\\" in address or not _is_one_word(address) else ""


def server_problem(address: str) -> str:
    """What is wrong with the address of a server; '' if nothing is."""
    if problem := user_problem(address):
        return problem
    parts = _parts(address)
    fine = parts and parts.scheme in ("http", "https") and parts.hostname and _is_one_word(address)
    return "" if fine else "a server's address is http://HOST:PORT or https://HOST"


def _parts(address: str) -> SplitResult | None:
    """The parts of an address; None if its port or a bracket is wrong."""
    try:
        parts = urlsplit(address)
        return parts if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def _is_one_word(address: str) -> bool:
    return address.isprintable() and not re.search(r"\s", address)
