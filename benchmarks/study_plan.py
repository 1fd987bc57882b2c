"""What the study of docs/study-norms.md runs: norms, seeds, and the lines that a person types."""

import shlex
from dataclasses import dataclass
from typing import Any

from recipes.__main__ import overrides
from recipes.read import base, read_recipe
from src.params import hydra_value

NORMS = ("batch", "layer", "layer2d", "group")
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Study:
    """What is run: a recipe with some settings, for every norm and seed."""

    name: str  # of the result file
    recipe: str
    settings: dict[str, Any]  # dotted keys
    norms: tuple[str, ...] = NORMS
    seeds: tuple[int, ...] = SEEDS
    jobs: int = 2
    threads: int | None = 1  # of each experiment; None: what PyTorch takes

    @property
    def count(self) -> int:
        """How many experiments."""
        return len(self.norms) * len(self.seeds)

    def lines(self) -> list[str]:
        """What a person types where params.yaml is the committed one; the queue is to end before the third line."""
        committed = base()
        values = read_recipe(self.recipe, committed) | self.settings
        settings, _ = overrides(committed, committed, values, {"norm", "seed"})
        settings += [f"norm={','.join(self.norms)}", f"seed={','.join(map(str, self.seeds))}"]
        queue = ["dvc", "exp", "run", "--queue", *(part for setting in settings for part in ("-S", setting))]
        threads = f"OMP_NUM_THREADS={self.threads} " if self.threads else ""
        own = [part for key, value in self.settings.items() for part in ("-S", f"{key}={hydra_value(value)}")]
        images = ["python", "-m", "recipes", self.recipe, *own, "prepare"]  # the queue worked elsewhere
        # Recipes' names are file names of this project, so that these quotes suffice, and read better than shlex's.
        compare = f"""python -m commands.compare --by norm --where "params.recipe = '{self.recipe}'\""""
        return [
            shlex.join(queue), f"{threads}dvc queue start -j {self.jobs}", shlex.join(images), compare
        ]  # fmt: skip


SHAPES = Study("study-shapes", "study-norms", {})
