"""Run a named set of parameters as a DVC experiment.

    python -m recipes                                    list the recipes
    python -m recipes NAME [dvc exp run arguments]       run one, e.g. python -m recipes quick -S norm=layer

A recipe starts from the committed params.yaml and ignores uncommitted values that an earlier `-S` left in the file.
Your own -S overrides the recipe's value.
"""

import os
import shlex
import sys
from pathlib import Path

from src.addresses import redacted
from src.artifacts import PARAMS
from src.config.changes import committed_or_error
from src.config.overrides import as_flags, given_keys, overrides
from src.config.recipes import read_recipe, recipe_files
from src.processes import experiment_environment
from src.runtime.run import run_command
from src.yaml_files import read_yaml


def main() -> None:
    """List the recipes, or convert one to `dvc exp run -S ...`, print that line and run it."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print((__doc__ or "").strip() + "\n\nRecipes:")
        for recipe_name, file in recipe_files().items():
            print(f"  {recipe_name:<16} {_first_line(file)}")
        return
    committed = committed_or_error()
    recipe = read_recipe(name, committed)
    settings, replaced = overrides(read_yaml(PARAMS), committed, recipe, given_keys(arguments))
    for key, was, now in replaced:
        print(redacted(f"params.yaml: {key} was {was!r} (not committed). This experiment uses {now!r}"))
    command = ["dvc", "exp", "run", *as_flags(settings), *arguments]
    print("$ " + redacted(shlex.join(command)), flush=True)
    # DVC replaces this process. Otherwise Ctrl-C would end this process first, which kills its child.
    os.execve(sys.executable, [sys.executable, "-m", *command], experiment_environment())


def _first_line(file: Path) -> str:
    """The description in the first line of a recipe. Works for invalid files too."""
    return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].lstrip("# ")


if __name__ == "__main__":
    run_command(main)
