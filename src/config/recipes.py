"""Read recipes, which are partial `params.yaml` files, and validate them. Errors name file, line and key."""

import difflib
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from src.artifacts import PARAMS, RECIPES
from src.errors import UserError
from src.params import allowed_keys, committed_params, nearest, problems
from src.yaml_files import YamlError, as_name, compose, flatten, nest, read_yaml


class Entry(NamedTuple):
    """The value of one key in a recipe, and its position."""

    value: Any
    line: int  # of the key, from 1
    items: list[int]  # lines of the items, if the value is a list


def recipe_files() -> dict[str, Path]:
    """The recipes by name: every YAML file in the folder."""
    return {file.stem: file for file in sorted(RECIPES.glob("*.yaml"))}


def base() -> dict[str, Any]:
    """The parameters that recipes change: the committed params.yaml, or the workspace's if there is no commit."""
    return committed_params() or read_yaml(PARAMS)


def read_recipe(name: str, committed: dict[str, Any]) -> dict[str, Any]:
    """The values of recipe `name` by dotted key, including `recipe`. Raises UserError if the recipe is invalid.

    `committed` are the parameters that the recipe changes. The combination must be valid, too.
    """
    files = recipe_files()
    if name not in files:
        names = difflib.get_close_matches(name, files, n=max(len(files), 1), cutoff=0)  # all, the closest first
        raise UserError(f"there is no recipe {name!r}{nearest(name, names)}. Recipes: {', '.join(names)}")
    return parse_recipe(files[name].read_bytes(), files[name], committed)


def with_recipe(name: str) -> dict[str, Any]:
    """All parameters by dotted key: the committed ones with the values of recipe `name`. Raises as `read_recipe`."""
    committed = base()
    return flatten(committed) | read_recipe(name, committed)


def parse_recipe(content: bytes, file: Path, committed: dict[str, Any]) -> dict[str, Any]:
    """`read_recipe` for the content of `file`, whose name is that of the recipe."""
    keys = allowed_keys()
    leaves, groups = flatten(keys), _groups(keys)
    entries = _entries(content, file, groups)
    said: list[tuple[int, str]] = []
    for key, entry in entries.items():
        if key in groups:
            example = next(leaf for leaf in leaves if leaf.startswith(f"{key}."))
            said.append((entry.line, f"{key} is a group. Indent its keys below it, as in {example}"))
        elif key not in leaves:
            said.append((entry.line, f"{as_name(key)} is not a parameter{nearest(key, [*leaves, *sorted(groups)])}"))
        elif key == "recipe" and isinstance(entry.value, str) and entry.value != file.stem:
            said.append((entry.line, f"recipe is {entry.value!r}, but the name of the file is {file.stem!r}"))
    values = {key: entry.value for key, entry in entries.items() if key in leaves}
    ours = []
    for key, problem in problems(nest(flatten(committed) | values)):
        line = _line(key, problem, entries)
        if line is None:  # no line of the recipe is involved
            ours.append(f"{PARAMS}: {key} {problem}")
        else:
            said.append((line, f"{key} {problem}"))
    if said:
        told = "\n".join(f"{file}:{line}: {what}" for line, what in sorted(said))
        raise UserError(f"{told}\n  Fix the recipe there. {PARAMS} has every parameter with its comment.")
    if ours:
        raise UserError("\n".join(ours) + f"\n  Fix {PARAMS} and commit it. Recipes start from the committed file")
    return {"recipe": file.stem} | values


def _entries(content: bytes, file: Path, groups: set[str]) -> dict[str, Entry]:
    """Entries by dotted key. A mapping that is not a group is a value. Raises UserError if `content` is no mapping."""
    try:
        loader, root = compose(content)
    except YamlError as error:
        raise _broken(file, error.line, error.problem) from None
    if root is None:
        raise UserError(f"{file}:1: is empty. Write the changes of the recipe as in {PARAMS}, or {{}} for none")
    entries: dict[str, Entry] = {}
    first: dict[str, int] = {}  # line of every key so far, including groups

    def enter(mapping: yaml.Node, prefix: str) -> None:
        if not isinstance(mapping, yaml.MappingNode):
            raise _broken(file, mapping.start_mark.line + 1, "is not a `key: value`")
        for name, node in mapping.value:
            line = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode):
                raise _broken(file, line, "has a key that is not a word")
            key = f"{prefix}{name.value}"
            if key in first:
                raise _broken(file, line, f"{as_name(key)} is already in line {first[key]}. Keep one of the two")
            first[key] = line
            if key in groups and isinstance(node, yaml.MappingNode):
                enter(node, f"{key}.")
                continue
            try:
                value = loader.construct_object(node, deep=True)
            except yaml.MarkedYAMLError as error:
                reason = str(error.problem)[:500]
                raise _broken(file, line, f"the value of {as_name(key)} cannot be read: {reason}") from None
            items = node.value if isinstance(node, yaml.SequenceNode) else []
            entries[key] = Entry(value, line, [item.start_mark.line + 1 for item in items])

    enter(root, "")
    return entries


def _line(key: str, problem: str, entries: dict[str, Entry]) -> int | None:
    """The line for a problem with `key`: that of the item, of the key, or of another key that `problem` names."""
    for known, entry in entries.items():
        if key == known or key.startswith(f"{known}."):
            item = key.removeprefix(known).strip(".").partition(".")[0]
            return entry.items[int(item)] if item.isdecimal() and int(item) < len(entry.items) else entry.line
    named = re.findall(r"\w[\w.]*\w", problem)
    return next((entry.line for known, entry in entries.items() if known in named), None)


def _groups(keys: dict[str, Any], prefix: str = "") -> set[str]:
    """The dotted names of the nested mappings. {'a': {'b': {'c': None}}} -> {'a', 'a.b'}"""
    inner = {f"{prefix}{key}": value for key, value in keys.items() if isinstance(value, dict)}
    return set(inner).union(*(_groups(value, f"{key}.") for key, value in inner.items()))


def _broken(file: Path, line: int, problem: str) -> UserError:
    return UserError(f"{file}:{line}: {problem}\n  Fix the recipe there. {PARAMS} shows the format.")
