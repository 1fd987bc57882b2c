"""How params.yaml differs from the last commit."""

from pathlib import Path
from typing import Any

from src import git
from src.artifacts import PARAMS, in_temporary_copy
from src.errors import UserError
from src.params import committed_params
from src.yaml_files import flatten, number, read_yaml, shown

MOST_LISTED = 8  # values that differ from the last commit


def committed_or_error() -> dict[str, Any]:
    """The committed params.yaml. Raises UserError if there is none, because DVC experiments start from a commit."""
    committed = committed_params()
    if not committed:
        raise UserError(
            "there is no committed params.yaml. DVC experiments need a git repository with a commit.\n"
            "  Make one with: git init && git add -A && git commit -m start"
        )
    return committed


def uncommitted(path: Path = PARAMS) -> dict[str, tuple[Any, Any]]:
    """Values of `path` that differ from the last commit: (value, committed value) by dotted key, None if missing.

    Empty if nothing is committed.
    """
    committed = flatten(committed_params(path))
    values = flatten(read_yaml(path)) if committed else {}
    pairs = {key: (values.get(key), committed.get(key)) for key in (committed | values)}
    return {key: (value, was) for key, (value, was) in pairs.items() if number(value) != number(was)}


def list_uncommitted() -> list[str]:
    """Lines with the differences from the last commit, also those left by an earlier or killed `-S`. [] for none."""
    changed = [f"{key} {shown(was)} -> {shown(value)}" for key, (value, was) in uncommitted().items()]
    if not changed:
        return []
    more = f" and {len(changed) - MOST_LISTED} more" if len(changed) > MOST_LISTED else ""
    lines = [f"Changed from the committed {PARAMS}: {', '.join(changed[:MOST_LISTED])}{more}"]
    return lines if in_temporary_copy() else [*lines, f"  Undo it with: {git.undo(PARAMS)}"]
