"""Recipes: named sets of parameters, each a partial `params.yaml`. The first line of a file is its description.

Run one with `python -m recipes NAME`. src/config/recipes.py reads them, and nothing imports this package.
"""

from src.processes import import_quietly

import_quietly()
