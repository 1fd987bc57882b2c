"""Read YAML files that users write, convert their values for code, and show them in messages."""

import re
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from src import git
from src.addresses import redacted
from src.errors import UserError

SHOWN = 100  # characters of a value in a message, at most
# Booleans and numbers only in YAML 1.1, which PyYAML reads. In YAML 1.2, which DVC uses, they are text.
ONLY_IN_YAML_1_1 = re.compile(r"(?i:yes|no|on|off)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


class YamlError(ValueError):
    """A text that is not valid YAML. `problem` is the rest of a sentence about the text, and `line` counts from 1."""

    def __init__(self, problem: str, line: int = 1) -> None:
        super().__init__(f"line {line} {problem}")
        self.problem, self.line = problem, line


class Loader(yaml.SafeLoader):
    """Plain YAML without duplicate keys and aliases. With aliases, a few lines can expand to gigabytes."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """As in PyYAML, except text for booleans and numbers that only exist in YAML 1.1."""
        if kind is yaml.ScalarNode and ONLY_IN_YAML_1_1.fullmatch(value):
            return str(self.DEFAULT_SCALAR_TAG)
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As in PyYAML. Raises ComposerError for an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias (*name) is not allowed. Write its value", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """As in PyYAML. Raises ConstructorError for a duplicate key."""
        seen = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in seen:
                problem = f"{shown(name.value)} occurs twice. Keep one of the two"
                raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
            seen.add(name.value if isinstance(name, yaml.ScalarNode) else name)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As in PyYAML. Raises ConstructorError for every value that cannot be read."""
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # int(), date() and others raise different types
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None


def compose(content: str | bytes) -> tuple[Loader, yaml.Node | None]:
    """The loader of a YAML text and its root node, None if the text is empty. Raises YamlError."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        loader = Loader(text)
    except UnicodeDecodeError as error:
        raise YamlError("is not UTF-8 text", error.object.count(b"\n", 0, error.start) + 1) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"contains the control character {chr(error.character)!r}", line) from None
    with _explained():
        return loader, loader.get_single_node()


def parse_yaml(content: str | bytes) -> Any:
    """The value of a YAML text. Raises YamlError."""
    loader, root = compose(content)
    with _explained():
        return None if root is None else loader.construct_document(root)


@contextmanager
def _explained() -> Iterator[None]:
    """Raise YamlError for whatever PyYAML raises."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(f"is not valid YAML: {str(error.problem)[:500]}", mark.line + 1 if mark else 1) from None
    except RecursionError:
        raise YamlError("is nested too deeply") from None
    except Exception as error:  # for example ValueError for the number of a character
        raise YamlError(f"is not valid YAML: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping with the safe loader. Raises UserError with the file and the line of an error."""
    try:
        content = parse_yaml(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Get it back with: {git.undo(path)}") from None
    except YamlError as error:
        raise UserError(f"{path}:{error.line}: {error.problem}\nUndo your changes with: {git.undo(path)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must consist of `key: value` lines. Undo your changes with: {git.undo(path)}")
    return content


def number(value: object) -> object:
    """Convert `1e-05` to a float. DVC writes numbers like this, and PyYAML reads them as strings."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into dotted keys. Lists are leaves. {'a': {'b': 1}} -> {'a.b': 1}"""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`. {'a.b': 1} -> {'a': {'b': 1}}"""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def shown(value: object) -> str:
    """A value for a message: at most SHOWN printable characters, without passwords."""
    try:
        text = redacted(repr(value))
    except (ValueError, RecursionError):  # an integer of over 4,300 digits, or deeply nested lists
        text = f"a value of type {type(value).__name__} that is too large"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def as_name(key: str) -> str:
    """A key for a message, unchanged if it is short and printable."""
    return key if len(key) <= SHOWN and key.isprintable() else shown(key)
