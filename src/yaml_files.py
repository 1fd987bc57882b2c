"""YAML that people write: read without surprises, its values as code wants them and as messages show them."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from src import git
from src.addresses import redacted
from src.errors import UserError

SHOWN = 100  # characters of a value in a message
# Booleans and numbers of YAML 1.1, which PyYAML reads. In YAML 1.2, which DVC reads and writes, they are text.
ONLY_IN_YAML_1_1 = re.compile(r"(?i:yes|no|on|off)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


class Loader(yaml.SafeLoader):
    """Plain YAML: no aliases, with which a few lines unfold into gigabytes or hold themselves, and no key twice."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """As in PyYAML, but text for what is a boolean or a number only in YAML 1.1."""
        if kind is yaml.ScalarNode and ONLY_IN_YAML_1_1.fullmatch(value):
            return str(self.DEFAULT_SCALAR_TAG)
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As in PyYAML; ComposerError at an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias (*name) is not allowed: write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """As in PyYAML; ConstructorError at a key that stands there already."""
        seen = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in seen:
                problem = f"{shown(name.value)} stands there twice: keep one of the two"
                raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
            seen.add(name.value if isinstance(name, yaml.ScalarNode) else name)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; ValueError says what is wrong with it, and where."""
    try:
        return yaml.load(text, Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except Exception as error:  # PyYAML raises whatever int() or date() do, and worse, for a value that is none
        raise ValueError(str(error)[:500]) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping with the safe loader; UserError names the file and the place of a syntax error."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Get it back with: {git.undo(path)}") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {error}\nUndo your changes to it with: {git.undo(path)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold `key: value` lines. Undo your changes to it with: {git.undo(path)}")
    return content


def number(value: object) -> object:
    """Turn `1e-05` into a float: PyYAML reads it as a string, and that is how DVC writes it."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists are leaves. {'a': {'b': 1}} -> {'a.b': 1}"""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat


def shown(value: object) -> str:
    """A value in a message: its first SHOWN characters, without passwords and what a terminal cannot show."""
    try:
        text = redacted(repr(value))
    except (ValueError, RecursionError):  # an integer of over 4,300 digits; a list of lists of lists ...
        text = f"too large a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def as_name(key: str) -> str:
    """A key in a message: as it is, if it can be shown."""
    return key if len(key) <= SHOWN and key.isprintable() else shown(key)
