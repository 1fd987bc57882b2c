"""Recipes: named sets of parameters, each a partial `params.yaml`. The first line of a file is its description."""

from src.processes import import_quietly

import_quietly()
