"""Validate web addresses, and hide their users and passwords."""

import re
from urllib.parse import SplitResult, urlsplit

# The user and password of an address in a text. A password may contain `/` and `@` that should have been encoded, so
# everything up to the last @ is hidden if a colon comes first. For an address with a port and a later @ this also hides
# the host, because hiding too much is safer than hiding too little.
USER = re.compile(r"(?<=://)(?:[^\s/?#:]*:\S*|[^\s/?#]*)@")
ENCODE = (
    "its user or password has a character that an address cannot contain, or its path has an @. Write / as %2F, ? as "
    "%3F, # as %23, \\ as %5C, a space as %20 and @ as %40"
)


def redacted(text: str) -> str:
    """`text` with `***` for the user and password of each address in it, as in http://user:password@host.

    Every text that contains an address or another program's error passes through here before it is shown or written.
    """
    return USER.sub("***@", text)


def hidden(address: str) -> str:
    """A malformed address without everything between its scheme and the last @."""
    return re.sub(r"^([A-Za-z][\w+.-]*:/+)?.*@", r"\1***@", address, flags=re.DOTALL)


def user_problem(address: str) -> str:
    """The problem with the user or password of an http address, or ''.

    Programs disagree on where a malformed password ends, and may show the rest of it as host or path.
    """
    if "@" not in address:
        return ""
    parts = _parts(address)
    odd = parts is None or (":" in parts.netloc and "@" in parts.path + parts.query + parts.fragment)
    return ENCODE if odd or "\\" in address or not _is_one_word(address) else ""


def server_problem(address: str) -> str:
    """The problem with the address of a server, or ''."""
    if problem := user_problem(address):
        return problem
    parts = _parts(address)
    fine = parts and parts.scheme in ("http", "https") and parts.hostname and _is_one_word(address)
    return "" if fine else "a server's address is http://HOST:PORT or https://HOST"


def _parts(address: str) -> SplitResult | None:
    """The parts of an address. None if its port or a bracket is wrong."""
    try:
        parts = urlsplit(address)
        return parts if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def _is_one_word(address: str) -> bool:
    return address.isprintable() and not re.search(r"\s", address)
