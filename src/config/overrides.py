"""The `-S` arguments of `dvc exp run`, and the command lines that contain them."""

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from src.params import hydra_value
from src.yaml_files import flatten


def flags(values: Mapping[str, object]) -> list[str]:
    """The arguments that set parameters, by dotted key. {'norm': 'layer'} -> ['-S', 'norm=layer']"""
    return as_flags(f"{key}={hydra_value(value)}" for key, value in values.items())


def as_flags(settings: Iterable[str]) -> list[str]:
    """`-S` before each of `settings`, which are in Hydra's grammar: key=value, +key=value or ~key."""
    return [part for setting in settings for part in ("-S", setting)]


def command_line(values: Mapping[str, object], *targets: str) -> str:
    """The command that runs `targets`, by default the whole pipeline, with the parameters `values`."""
    return shlex.join([*(["dvc", "exp", "run", *flags(values)] if values else ["dvc", "repro"]), *targets])


def overrides(
    workspace: dict[str, Any], committed: dict[str, Any], recipe: dict[str, Any], yours: set[str]
) -> tuple[list[str], list[tuple[str, Any, Any]]]:
    """The `-S` settings that change the workspace's file to committed + recipe, except for the keys in `yours`.

    Returns the settings, and (key, workspace's value, new value) for each uncommitted value that is replaced.
    """
    have, base = flatten(workspace), flatten(committed)
    want = base | recipe
    settings: list[str] = []
    replaced: list[tuple[str, Any, Any]] = []
    for key in sorted(have.keys() | want.keys()):
        if key in yours or (key in have and key in want and have[key] == want[key]):
            continue
        if key in have and have[key] != base.get(key):
            replaced.append((key, have[key], want.get(key)))
        if key not in want:
            settings.append(f"~{key}")
        else:
            settings.append(f"{'' if key in have else '+'}{key}={hydra_value(want[key])}")
    return settings, replaced


def given_keys(arguments: list[str]) -> set[str]:
    """The keys in `-S key=value`, `-Skey=value`, `--set-param key=value` or `--set-param=key=value`."""
    text = " ".join(arguments)
    return set(re.findall(r"(?:^|\s)(?:-S\s*|--set-param[\s=])(?:params\.yaml:)?[+~]*([\w.]+)", text))
