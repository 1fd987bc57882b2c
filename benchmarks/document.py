"""Put the tables of benchmarks/results into docs/performance.md: `python -m benchmarks.document`

A table stands between `<!-- results: NAME -->` and `<!-- end of results -->` and comes from NAME.json, with the names
of the measures that are still to be taken. No number in it is typed; a test compares the document with the files.
"""

import re
from pathlib import Path

from benchmarks import cpu, devices, gpu, peers
from benchmarks.measure import RESULTS
from benchmarks.results import read, table
from commands import run_command
from src import artifacts
from src.errors import UserError

DOCUMENT = Path("docs/performance.md")
SETS = {
    "cpu": cpu.MEASURES,
    "peers-cpu": peers.MEASURES,
    "devices-cpu": devices.MEASURES,
    "gpu": gpu.MEASURES + peers.MEASURES,
}
PLACE = re.compile(r"<!-- results: (\S+) -->\n(.*?)<!-- end of results -->", re.DOTALL)


def fill(document: str, folder: Path) -> str:
    """`document` with the table of `folder`/NAME.json in each place; UserError where a set of SETS has no place."""
    missing = SETS.keys() - {name for name, _ in PLACE.findall(document)}
    if missing:
        raise UserError(f"the document has no place for: {', '.join(sorted(missing))}")
    return PLACE.sub(lambda found: _section(found[1], folder), document)


def main() -> None:
    """Fill the places of docs/performance.md."""
    artifacts.write_text(DOCUMENT, fill(DOCUMENT.read_text(encoding="utf-8"), RESULTS))


def _section(name: str, folder: Path) -> str:
    file = folder / f"{name}.json"
    result = read(file) if file.exists() else None
    taken = set(result["measures"]) if result else set()
    parts = [table(result)] if result else []
    left = [f"`{measure}`" for measure in SETS.get(name, ()) if measure not in taken]
    if left:
        parts.append(f"Not measured yet: {', '.join(left)}.")
    return "\n".join([f"<!-- results: {name} -->", "\n\n".join(parts), "<!-- end of results -->"])


if __name__ == "__main__":
    run_command(main)
