"""Run a named set of parameters as a DVC experiment.

    python -m recipes                                    list the recipes
    python -m recipes NAME [dvc exp run arguments]       run one, e.g. python -m recipes quick -S norm=layer

A recipe starts from the committed params.yaml and ignores uncommitted values that an earlier `-S` left in the file.
Your own -S overrides the recipe's value.
"""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from src.addresses import redacted
from src.artifacts import PARAMS
from src.config.recipes import read_recipe, recipe_files
from src.errors import UserError
from src.params import committed_params, hydra_value
from src.processes import experiment_environment
from src.runtime.run import run_command
from src.yaml_files import flatten, read_yaml


def main() -> None:
    """List the recipes, or convert one to `dvc exp run -S ...`, print that line and run it."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print((__doc__ or "").strip() + "\n\nRecipes:")
        for recipe_name, file in recipe_files().items():
            print(f"  {recipe_name:<16} {_first_line(file)}")
        return
    committed = committed_params()
    if not committed:
        raise UserError(
            "there is no committed params.yaml. DVC experiments need a git repository with a commit.\n"
            "  Make one with: git init && git add -A && git commit -m start"
        )
    recipe = read_recipe(name, committed)
    workspace = read_yaml(PARAMS)
    yours = given_keys(arguments)
    settings, replaced = overrides(workspace, committed, recipe, yours)
    for key, was, now in replaced:
        print(redacted(f"params.yaml: {key} was {was!r} (not committed). This experiment uses {now!r}"))
    flags = [part for setting in settings for part in ("-S", setting)]
    command = ["dvc", "exp", "run", *flags, *arguments]
    print("$ " + redacted(shlex.join(command)), flush=True)
    # DVC replaces this process. Otherwise Ctrl-C would end this process first, which kills its child.
    os.execve(sys.executable, [sys.executable, "-m", *command], experiment_environment())


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


def _first_line(file: Path) -> str:
    """The description in the first line of a recipe. Works for invalid files too."""
    return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].lstrip("# ")


if __name__ == "__main__":
    run_command(main)
