"""The sweep file: trainings, resources and destinations of the results. docs/scale/sweeps.md explains every key."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from src.artifacts import sha256_json
from src.errors import UserError
from src.params import Count, Float, Section, Seed, Text, allowed_keys, explain_problem
from src.yaml_files import YamlError, flatten, parse_yaml

MOST_TRIALS = 10_000
DIGITS = 4  # significant digits of a number that a search draws

Point = Mapping[str, Any]  # parameters by dotted key


def _wrong(problem: str) -> PydanticCustomError:
    return PydanticCustomError("conflict", "{problem}", {"problem": problem})


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", value):
        raise _wrong("must be up to 40 lower-case letters, digits and dashes, because experiments are named after it")
    return value


def _bounds(value: list[float]) -> list[float]:
    if not value[0] < value[1]:
        raise _wrong("must be [low, high] with low below high")
    return value


Whole = Annotated[int, Field(strict=True)]  # defined here, because Space has a key `int`
Bounds = Annotated[list[Float], Field(min_length=2, max_length=2), AfterValidator(_bounds)]


class Space(Section):
    """The range of one parameter of a search. Exactly one of the four keys is given."""

    choice: Annotated[list[bool | Whole | Float | Text] | None, Field(min_length=1, max_length=100)] = None
    uniform: Bounds | None = None
    log: Bounds | None = None  # evenly on a logarithmic scale
    int: Bounds | None = None  # whole numbers, including both bounds

    @model_validator(mode="after")
    def _one(self) -> "Space":
        if len(self.model_fields_set) != 1:
            raise _wrong("must be one of choice: [...], uniform: [low, high], log: [low, high], int: [low, high]")
        if self.log and self.log[0] <= 0:
            raise _wrong("must be above 0, because the scale is logarithmic")
        if self.int and any(bound != int(bound) for bound in self.int):
            raise _wrong("must be whole numbers")
        return self

    def ends(self) -> list[Any]:
        """The values to validate instead of the whole range: the choices, or both bounds."""
        return self.choice or self.uniform or self.log or [int(bound) for bound in self.int or ()]

    def holds(self, value: Any) -> bool:
        """Whether the value is in the range."""
        bounds = self.uniform or self.log or self.int
        return bool(bounds[0] <= value <= bounds[1]) if bounds else value in self.ends()

    def tidy(self, value: Any) -> Any:
        """A drawn value rounded to DIGITS significant digits, within the bounds."""
        if bounds := self.uniform or self.log:
            return min(max(float(f"{value:.{DIGITS}g}"), bounds[0]), bounds[1])
        return int(value) if self.int else value


class Asha(Section):
    """Early stopping (Li et al. 2020, arXiv:1810.05934).

    Trials are compared at epochs grace * reduction^k, k = 0, 1, ... Those among the best 1 / reduction by validation
    accuracy continue.
    """

    grace: Count
    reduction: Annotated[Float, Field(gt=1, le=100)]


class Resources(Section):
    """The resources that Ray reserves for one trial. Memory is not reserved."""

    cpu: Annotated[Float, Field(gt=0, le=10_000)]
    gpu: Annotated[Float, Field(ge=0, le=1000)]


class Remotes(Section):
    """Names of remotes of this repository, as listed by `git remote` and `dvc remote list`."""

    git: Text
    dvc: Text


class Spec(Section):
    name: Annotated[str, AfterValidator(_name)]
    grid: Annotated[dict[str, Annotated[list[JsonValue], Field(min_length=1)]] | None, Field(min_length=1)] = None
    search: Annotated[dict[str, Space] | None, Field(min_length=1)] = None
    trials: Annotated[int | None, Field(ge=1, le=MOST_TRIALS)] = None  # of a search
    seed: Seed = 0  # of the search's sampler
    asha: Asha | None = None
    recipe: Text = ""
    set: dict[str, JsonValue] = {}  # noqa: RUF012  # pydantic copies it
    resources: Resources
    storage: Annotated[Text, Field(min_length=1)]  # a folder that all machines share
    remotes: Remotes

    @model_validator(mode="after")
    def _across_keys(self) -> "Spec":
        if (self.grid is None) == (self.search is None):
            raise _wrong("must have either grid or search")
        if (self.search is None) != (self.trials is None):
            raise _wrong("must have trials (their number) with search, and only with search")
        if self.grid and math.prod(map(len, self.grid.values())) > MOST_TRIALS:
            raise _wrong(f"has more than {MOST_TRIALS:,} trials in its grid")
        if not Path(self.storage).expanduser().is_absolute():
            raise _wrong("must have an absolute path as storage, because all machines share that folder")
        return self

    def grid_points(self) -> list[Point]:
        """All combinations, with the last key changing fastest. [] for a search."""
        grid = self.grid or {}
        return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())] if grid else []

    def tidy(self, drawn: Point) -> Point:
        """The parameters of a trial, from a point of the grid or a draw of the sampler."""
        return {key: self.search[key].tidy(value) if self.search else value for key, value in drawn.items()}

    def asks_for(self, point: Point) -> bool:
        """Whether a trial of `point` belongs to the sweep."""
        if point.keys() != (self.search or self.grid or {}).keys():
            return False
        grid = self.grid or {}
        return all(self.search[k].holds(v) if self.search else v in grid[k] for k, v in point.items())

    def extremes(self) -> Iterator[Point]:
        """Points to validate: all points of a grid, or each end of each range of a search."""
        yield from self.grid_points()
        for key, space in (self.search or {}).items():
            yield from ({key: value} for value in space.ends())


def read_spec(file: Path) -> Spec:
    """Read and validate a sweep file. The UserError names the file and every wrong key."""
    try:
        content = parse_yaml(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file} does not exist. Write it like docs/scale/sweep.yaml") from None
    except YamlError as error:
        raise UserError(f"{file}:{error.line}: {error.problem}") from None
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        names = [*Spec.model_fields, *flatten(allowed_keys(Spec))]
        found = [explain_problem(e, names, "a key of a sweep", "the sweep") for e in error.errors()]
        told = dict.fromkeys(f"{file}: {key} {problem}" for key, problem in found)
        raise UserError("\n".join([*told, "  docs/scale/sweeps.md explains each key"])) from None


def trial_name(spec: Spec, params: Point) -> str:
    """The name of a trial's experiment. It only depends on the name of the sweep and on all parameters."""
    return f"{spec.name}-{sha256_json(dict(params))[:10]}"
