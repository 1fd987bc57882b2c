"""Put the tables of benchmarks/results into the documents: `python -m benchmarks.document`

A table is between `<!-- results: NAME -->` and `<!-- end of results -->`. It comes from NAME.json, followed by the
names of the measures that are missing. A test compares the documents with the files.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import cpu, devices, gpu, peers, scale
from benchmarks.harness import RESULTS, table
from src import artifacts
from src.errors import UserError
from src.runtime.run import run_command

DOCUMENTS: dict[Path, dict[str, tuple[str, ...]]] = {
    Path("docs/explanation/performance.md"): {
        "cpu": cpu.MEASURES, "cpu-avx2": (), "peers-cpu": peers.MEASURES, "devices-cpu": devices.MEASURES,
        "gpu": gpu.MEASURES + peers.MEASURES,
    },
    Path("docs/scale/capacity.md"): {"scale": scale.MEASURES},
}  # fmt: skip
PLACE = re.compile(r"<!-- results: (\S+) -->\n(.*?)<!-- end of results -->", re.DOTALL)


def put(document: str, contents: Mapping[str, str]) -> str:
    """Put `contents` into the places of `document`. Raises UserError unless both have exactly the same names."""
    if wrong := {name for name, _ in PLACE.findall(document)} ^ contents.keys():
        raise UserError(f"the document must have exactly the places {', '.join(contents)}; see {', '.join(wrong)}")
    return PLACE.sub(lambda p: f"<!-- results: {p[1]} -->\n{contents[p[1]]}\n<!-- end of results -->", document)


def section(file: Path, measures: Sequence[str]) -> str:
    """The table of a result file, and which of `measures` it lacks."""
    result = artifacts.read_json(file) if file.exists() else None
    parts = [table(result)] if result else []
    if left := [f"`{name}`" for name in measures if not result or name not in result["measures"]]:
        parts.append(f"Not measured yet: {', '.join(left)}.")
    return "\n\n".join(parts)


def fill(document: str, folder: Path, sets: Mapping[str, Sequence[str]]) -> str:
    """`document` with the tables of `sets`, from the result files in `folder`."""
    return put(document, {name: section(folder / f"{name}.json", measures) for name, measures in sets.items()})


def main() -> None:
    """Fill the places of all documents."""
    argparse.ArgumentParser(prog="python -m benchmarks.document", description=__doc__).parse_args()
    for document, sets in DOCUMENTS.items():
        artifacts.write_text(document, fill(document.read_text(encoding="utf-8"), RESULTS, sets))


if __name__ == "__main__":
    run_command(main)
