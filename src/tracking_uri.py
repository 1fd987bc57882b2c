"""The address of the MLflow store: MLFLOW_TRACKING_URI, checked and made absolute, without importing MLflow.

Stages of queued and `--temp` experiments run in a temporary copy of the repository, so a relative address is resolved
against the main repository.
"""

import os
import re
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote, urlsplit

from src import artifacts
from src.addresses import ENCODE, hidden, redacted, server_problem, user_problem
from src.errors import UserError

VARIABLE = "MLFLOW_TRACKING_URI"
ALLOW_FILES = "MLFLOW_ALLOW_FILE_STORE"
DATABASES = ("postgresql", "mysql", "mssql")


def tracking_uri() -> str:
    """The address of the store: MLFLOW_TRACKING_URI if it is set, else `mlflow.db` in the main repository.

    Raises UserError if MLflow can never use the address.
    """
    given = os.environ.get(VARIABLE, "").strip()
    return _resolved(given, artifacts.root(), _allows_files()) if given else sqlite_uri(artifacts.root() / "mlflow.db")


def is_server(uri: str) -> bool:
    """Whether `uri` is the address of a server, which also stores the files of runs."""
    return _scheme(uri) not in ("", "file", "sqlite", *DATABASES)


def sqlite_uri(path: Path, query: str = "") -> str:
    """The address of a SQLite file. `query` is '' or begins with `?`."""
    encoded = str(path).replace("%", "%25").replace("?", "%3F")
    # MLflow creates the folder of a plain `sqlite:///` address, but uses its escapes as the name.
    scheme = "sqlite" if encoded == str(path) else "sqlite+pysqlite"
    return f"{scheme}:///{encoded}{query}"


def sqlite_file(uri: str) -> Path | None:
    """The file of an address that `tracking_uri` returned. None if it is not an SQLite address."""
    found = re.fullmatch(r"sqlite(?:\+pysqlite)?:///([^?]*)(?:\?.*)?", uri)
    return Path(unquote(found[1])) if found else None


@cache
def _resolved(given: str, root: Path, files_allowed: bool) -> str:
    scheme = _scheme(given)
    match scheme:
        case "sqlite":
            return _resolved_sqlite(given, root)
        case "http" | "https":
            if problem := server_problem(given):
                cure = (
                    f", or set {VARIABLE.replace('URI', 'USERNAME')} and {VARIABLE.replace('URI', 'PASSWORD')} instead"
                )
                raise _wrong(given, problem + (cure if problem == ENCODE else ""))
            return re.sub(r"^\w+", scheme, given)
        case "" | "file" if files_allowed:
            path = unquote(urlsplit(given).path) if scheme else given
            return Path(os.path.normpath(root / path)).as_uri()
        case "" | "file":
            raise _wrong(
                given,
                "MLflow reads it as a folder, and no longer writes to folders. `mlflow migrate-filestore` copies the "
                f"runs of a folder into a database, and {ALLOW_FILES}=true lets MLflow write to folders again",
            )
    if re.search(r"\s", given):
        raise _wrong(given, "it has a space. Write it as %20")
    if scheme in DATABASES:
        return _with_driver(given)
    if scheme == "databricks" or scheme in entry_points(group="mlflow.tracking_store").names:
        return given
    raise _wrong(given, "MLflow does not support this kind of store")


def _scheme(uri: str) -> str:
    """The kind of an address, in lower case and without the driver of a database. '' for a path."""
    if uri in ("databricks", "databricks-uc", "uc"):
        return uri
    found = re.match(r"([A-Za-z][A-Za-z0-9.-]+)(\+[A-Za-z0-9.-]+)?:", uri)  # a single letter is a drive of Windows
    return found[1].lower() if found else ""


def _resolved_sqlite(given: str, root: Path) -> str:
    found = re.fullmatch(r"(?i:sqlite(?:\+pysqlite)?):///([^?]*)(\?.*)?", given)
    name = unquote(found[1]) if found else ""
    if given.lower() == "sqlite://" or (found and name in ("", ":memory:")):
        raise _wrong(given, "it is a database in the memory of one process, which loses every run")
    if not found:
        raise _wrong(given, "SQLite's addresses are sqlite:///PATH, with a fourth slash if PATH is absolute")
    if name.startswith("file:"):
        raise _wrong(given, "SQLite's own `file:` addresses are not supported. Write sqlite:///PATH")
    return sqlite_uri(Path(os.path.normpath(root / name)), found[2] or "")


def _with_driver(given: str) -> str:
    """The address of a database server, if this environment has a driver for it."""
    from sqlalchemy.engine import make_url  # here, because it takes a second and only such addresses need it
    from sqlalchemy.exc import SQLAlchemyError

    if given.count("@") > 1 or user_problem(given):  # SQLAlchemy ends a password at the first @
        raise _wrong(given, ENCODE)
    uri = re.sub(r"^[^:]+", lambda scheme: scheme[0].lower(), given)
    try:
        make_url(uri).get_dialect().import_dbapi()
    except (SQLAlchemyError, ImportError) as error:
        first = redacted(str(error)).partition("\n")[0]
        raise _wrong(given, f"this environment has no driver for that database ({first})") from None
    except ValueError:  # its message may contain a part of the address
        raise _wrong(given, "it is not the address of a database") from None
    return uri


def _allows_files() -> bool:
    """Whether MLflow may write to folders, which it rejects by default."""
    return os.environ.get(ALLOW_FILES, "").lower() in ("true", "1")


def _wrong(given: str, why: str) -> UserError:
    shown = redacted(given) if _scheme(given) in ("sqlite", "file") else hidden(given)
    return UserError(
        f"{VARIABLE} is {shown}, which cannot be used: {why}.\n"
        f"  For the store of this repository: unset {VARIABLE}\n"
        f"  For another one: export {VARIABLE}=sqlite:///PATH, or =http://HOST:PORT of an MLflow server"
    )
