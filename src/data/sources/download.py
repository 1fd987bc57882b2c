"""Resumable HTTP downloads that only leave complete, verified files at their destination."""

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests
from tqdm import tqdm

from src import artifacts
from src.addresses import redacted
from src.data.sources.archive import is_web_page
from src.data.sources.digests import mismatch
from src.locks import locked

TIMEOUT = (5.0, 10.0)  # seconds to connect (per address of the host), and between two packets
PATIENCE = 10.0  # seconds without any data, after which no further address is tried
RESUMES = 5  # times a broken transfer resumes, as long as each attempt receives data
MAX_BYTES = 64 << 30  # limit for one file
CHUNK = 1 << 16  # bytes; a broken connection loses at most one chunk


class DownloadError(Exception):
    """No address gave the file. The message has one line per address."""


def download(addresses: Sequence[str], destination: Path, digests: Mapping[str, str]) -> str:
    """Download from the first of `addresses` that works to `destination` and return that address.

    Unfinished files stay in `.downloads` of the main repository, and the next call resumes them. It uses HTTP Range
    with If-Range, so a file that has changed on the server starts again. `digests` (hashlib name -> hexadecimal) may be
    empty. A file with other digests is kept in `.downloads` as `*.refused`. Any other file moves to `destination`
    atomically.

    Raises DownloadError if no address works.
    """
    folder = artifacts.root() / ".downloads"
    folder.mkdir(exist_ok=True)
    failures: list[str] = []
    silent_since = time.monotonic()
    for address in addresses:
        shown = redacted(address)
        if failures and time.monotonic() - silent_since > PATIENCE:
            failures.append(f"  {shown}: not tried, because the previous addresses sent nothing")
            continue
        partial = folder / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{destination.name}.part"
        with locked(partial.with_suffix(".lock")):  # two experiments may download the same file
            before = _size(partial)
            try:
                _fetch(address, partial)
            except (requests.RequestException, _BrokenError) as error:
                failures.append(f"  {shown}: {_short(error)}")
                if _size(partial) != before:
                    silent_since = time.monotonic()
                continue
            if problem := mismatch(partial, digests):
                refused = partial.with_suffix(".refused")
                partial.replace(refused)
                what = "a web page, " if is_web_page(refused) else ""
                failures.append(f"  {shown}: {what}not the right file, because {problem}. Kept as {refused}")
                continue
            with artifacts.atomic(destination) as temporary:
                shutil.copyfile(partial, temporary)
            partial.unlink()
            _validator_file(partial).unlink(missing_ok=True)
            return address
    raise DownloadError("\n".join(failures))


class _BrokenError(Exception):
    """The server answered, but not with the complete file."""


def _fetch(address: str, partial: Path) -> None:
    """Fill `partial`. Resume a broken transfer as long as it makes progress."""
    for _ in range(RESUMES):
        before = _size(partial)
        try:
            return _transfer(address, partial)
        except (requests.RequestException, _BrokenError):
            if _size(partial) <= before:
                raise
    return _transfer(address, partial)


def _transfer(address: str, partial: Path) -> None:
    """Request the file from the end of `partial` on."""
    validator = _validator_file(partial)
    offset = _size(partial) if validator.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator.read_text(encoding="utf-8")}
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink()
            raise _BrokenError("the file on the server has changed. Run the same command again")
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            offset = 0
            _remember(validator, response.headers)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise _BrokenError(f"the server sent the wrong part (requested from byte {offset} on)")
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdecimal() else None
        bar = tqdm(
            total=total,
            initial=offset,
            unit="B",
            unit_scale=True,
            desc=redacted(address).rpartition("/")[2],
            leave=False,
        )
        with bar, partial.open("ab" if offset else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > MAX_BYTES:
                    partial.unlink()
                    raise _BrokenError(f"the file exceeds the limit of {MAX_BYTES >> 30} GiB")
    if total is not None and _size(partial) != total:
        raise _BrokenError(f"the connection ended after {_size(partial):,} of {total:,} bytes")


def _remember(validator: Path, headers: Mapping[str, str]) -> None:
    """Save the identifier of this version of the file. Without one, or with a weak ETag, no download can resume."""
    tag = headers.get("ETag", "")
    value = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    if value:
        artifacts.write_text(validator, value)
    else:
        validator.unlink(missing_ok=True)


def _validator_file(partial: Path) -> Path:
    return partial.with_suffix(".version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _short(error: Exception) -> str:
    """One line for a chain of exceptions from `requests`."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        unknown = "resolve" in str(error) or "resolution" in str(error)
        return "no connection (host name not found)" if unknown else "no connection"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke. The next attempt resumes from there"
    return redacted(str(error))
