"""Put the tables of benchmarks/results into the documents: `python -m benchmarks.document`

A table stands between `<!-- results: NAME -->` and `<!-- end of results -->` and comes from NAME.json, with the names
of the measures that are still to be taken. No number in it is typed; a test compares the documents with the files.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import cpu, devices, gpu, peers, scale
from benchmarks.harness import RESULTS
from benchmarks.results import read, table
from commands import run_command
from src import artifacts
from src.errors import UserError

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
    if wrong := _places(document) ^ contents.keys():
        raise UserError(f"the document must have exactly the places {', '.join(contents)}; see {', '.join(wrong)}")
    return PLACE.sub(lambda p: f"<!-- results: {p[1]} -->\n{contents[p[1]]}\n<!-- end of results -->", document)


def fill(document: str, folder: Path, sets: Mapping[str, Sequence[str]]) -> str:
    """`document` with the table of `folder`/NAME.json in each place; UserError where a set of `sets` has no place."""
    places = _places(document)
    if missing := sets.keys() - places:
        raise UserError(f"the document has no place for: {', '.join(sorted(missing))}")
    return put(document, {name: _section(name, folder, sets.get(name, ())) for name in places})


def main() -> None:
    """Fill the places of all documents."""
    argparse.ArgumentParser(prog="python -m benchmarks.document", description=__doc__).parse_args()
    for document, sets in DOCUMENTS.items():
        artifacts.write_text(document, fill(document.read_text(encoding="utf-8"), RESULTS, sets))


def _places(document: str) -> set[str]:
    return {name for name, _ in PLACE.findall(document)}


def _section(name: str, folder: Path, measures: Sequence[str]) -> str:
    file = folder / f"{name}.json"
    result = read(file) if file.exists() else None
    taken = set(result["measures"]) if result else set()
    parts = [table(result)] if result else []
    left = [f"`{measure}`" for measure in measures if measure not in taken]
    if left:
        parts.append(f"Not measured yet: {', '.join(left)}.")
    return "\n\n".join(parts)


if __name__ == "__main__":
    run_command(main)
