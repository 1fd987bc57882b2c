"""The content of docs/reference/parameters.md: every key of params.yaml with its value, comment and readers."""

from typing import Any

import yaml

from src.params import LEAST, MOST, Params, hydra_value
from src.yaml_files import compose, flatten, parse_yaml

LONGEST = 80  # characters of a value in the table

# Names of limits in the JSON schema. Plain types and types with our own validators use different names.
BOUNDS = {
    "minimum": "at least", "ge": "at least", "exclusiveMinimum": "above", "gt": "above",
    "maximum": "at most", "le": "at most", "exclusiveMaximum": "below", "lt": "below",
    "multipleOf": "a multiple of",
}  # fmt: skip

HEAD = """# Parameters

<!-- Written by `python -m commands.parameters`. Change params.yaml or src/params.py and run it again. -->

[params.yaml](../../params.yaml) holds every choice of an experiment. There are no hidden defaults, and the values below
are those of the committed file. To set a key for one run, use `dvc exp run -S KEY=VALUE`. To keep it, write it into the
file or into a [recipe](recipes.md). The first stage, `check`, rejects unknown keys and wrong values before DVC deletes
any output.

*Read by* names the stages that run again if the key changes, apart from `check` and `report`, which read every key.
If the cell is empty, only these two run. A later stage runs again only if a file that it depends on changed.
"""


def page(params: str, pipeline: dict[str, Any]) -> str:
    """Return the page in Markdown, given the text of params.yaml and the content of dvc.yaml."""
    said, values = comments(params), flatten(parse_yaml(params))
    allowed, readers = allowed_values(), read_by(pipeline)

    def table(keys: list[str]) -> str:
        rows = [["Key", "Value", "Allowed", "Meaning", "Read by"], ["---"] * 5]
        for key in keys:
            if key in values:
                text = hydra_value(values[key])
                shown = f"`{text}`" if len(text) <= LONGEST else "see params.yaml"
                rows.append([f"`{key}`", shown, allowed[key], said[key], ", ".join(readers[key])])
            elif said[key]:
                rows.append([f"`{key}`", "", "", said[key], ""])
        return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in rows)

    groups = [key for key in said if "." not in key and key not in values]
    parts = [HEAD, table([key for key in said if "." not in key and key in values])]
    for group in groups:
        about = f"{said[group]}\n\n" if said[group] else ""
        parts.append(f"## {group}\n\n{about}{table([key for key in said if key.startswith(f'{group}.')])}")
    return "\n".join(parts)


def comments(text: str) -> dict[str, str]:
    """Return the comment of every key of a YAML mapping by dotted key, in order. '' for no comment.

    The comment consists of the lines right above the key and of the end of its line.
    """
    lines, found = text.splitlines(), {}

    def walk(mapping: yaml.MappingNode, prefix: str) -> None:
        for name, value in mapping.value:
            row, key = name.start_mark.line, f"{prefix}{name.value}"
            start = row
            while start and lines[start - 1].lstrip().startswith("#"):
                start -= 1
            # A block mapping or list ends lines below its key. Then only the colon follows the key.
            end = value.end_mark if value.end_mark.line == row else name.end_mark
            tail = lines[row][end.column :].partition("#")[2]
            words = [*(line.lstrip(" #") for line in lines[start:row]), tail.strip()]
            found[key] = " ".join(filter(None, words))
            if isinstance(value, yaml.MappingNode):
                walk(value, f"{key}.")

    _, root = compose(text)
    assert isinstance(root, yaml.MappingNode)
    walk(root, "")
    return found


def allowed_values() -> dict[str, str]:
    """Return what the schema of params.yaml allows for each leaf, in words."""
    schema = Params.model_json_schema()
    found: dict[str, str] = {}

    def walk(section: dict[str, Any], prefix: str) -> None:
        for name, value in section["properties"].items():
            inner = schema["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            if "properties" in inner:
                walk(inner, f"{prefix}{name}.")
            else:
                found[f"{prefix}{name}"] = in_words(inner)

    walk(schema, "")
    return found


def in_words(schema: dict[str, Any]) -> str:
    """Return what a JSON schema of one value allows. {'type': 'integer', 'minimum': 1} -> 'whole number, at least 1'"""
    match schema:
        case {"anyOf": options}:
            return " or ".join(map(in_words, options))
        case {"enum": names}:
            return ", ".join(f"`{name}`" for name in names)
        case {"const": name}:
            return f"`{name}`"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "array", "items": items}:
            least, most = schema.get("minItems"), schema["maxItems"]
            count = f"{most}" if least == most else f"at most {most}"
            return f"list of {count}: {in_words(items)}"
        case {"type": "object"}:
            return "mapping"
        case {"type": "integer" | "number" as kind}:
            limits = {BOUNDS[name]: limit for name, limit in schema.items() if name in BOUNDS and limit != MOST}
            if limits.get("at least") == LEAST:
                limits = {"above": 0, **limits}
                del limits["at least"]
            words = [f"{word} {limits[word]:,}" for word in dict.fromkeys(BOUNDS.values()) if word in limits]
            return ", ".join(["whole number" if kind == "integer" else "number", *words])
    return "text"


def read_by(pipeline: dict[str, Any]) -> dict[str, list[str]]:
    """Return the stages that declare each leaf of params.yaml, without those that declare the whole file."""
    return {
        leaf: [
            stage
            for stage, entry in pipeline["stages"].items()
            if any(f"{leaf}.".startswith(f"{name}.") for name in entry.get("params", []))
        ]
        for leaf in allowed_values()
    }
