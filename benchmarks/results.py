"""The result file of a set of measures, and its table: `python -m benchmarks.results FILE` prints that."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, Settings, code_digest, commit, machine
from commands import run_command
from src import artifacts
from src.errors import UserError

LIBRARY_NAMES = {"torch": "PyTorch", "mlflow": "MLflow", "dvc": "DVC", "albumentations": "Albumentations"}

Result = dict[str, Any]  # {"machine": {...}, "measures": {name: {...}}, "rows": [{"measure": name, ...}]}


class Results:
    """What has been measured on this machine, in a file that is complete after each measure."""

    def __init__(self, file: Path, settings: Settings) -> None:
        """Go on with `file` where it exists; the results of another machine, or of other versions, are left out."""
        self.file = file
        self.machine = machine(settings.device)
        self.code = code_digest()
        self.commit = commit()
        self.measures: dict[str, dict[str, Any]] = {}
        self.rows: list[dict[str, Any]] = []
        before = read(file) if file.exists() else None
        # A machine that is lent in pieces may come back with another kernel.
        same = before is not None and before["machine"] | {"system": self.machine["system"]} == self.machine
        self.replaces = before["machine"] if before and not same else None
        if before and not self.replaces:
            self.measures, self.rows = before["measures"], before["rows"]

    def has(self, name: str, settings: Settings) -> bool:
        """Whether `name` was measured, without failing, by the same code with the same settings."""
        there = self.measures.get(name, {})
        return (there.get("code"), there.get("settings"), there.get("failed")) == (self.code, _json(settings), None)

    def add(self, name: str, settings: Settings, seconds: float, rows: list[Row], failed: str | None = None) -> None:
        """Put `name` in the place of what was known of it, and write the file."""
        self.measures[name] = {
            "settings": _json(settings),
            "seconds": round(seconds, 1),
            "failed": failed,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": self.commit,
            "code": self.code,
        }
        kept = [row for row in self.rows if row["measure"] != name]
        order = list(self.measures)
        self.rows = sorted(kept + [_row(name, row) for row in rows], key=lambda row: order.index(row["measure"]))
        artifacts.write_json(self.file, self.content())

    def content(self) -> Result:
        """What the file holds."""
        return {"machine": self.machine, "measures": self.measures, "rows": self.rows}


def read(file: Path) -> Result:
    """A result file; UserError where it is missing or is something else."""
    try:
        result: Result = json.loads(file.read_bytes())
        if not {"machine", "measures", "rows"} <= set(result):
            raise ValueError("it has no machine, measures and rows")
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not a result file of the benchmarks: {error}") from None
    return result


def table(result: Result) -> str:
    """Markdown: a line a row, what failed, and what it all rests on."""
    lines = ["| measured | ours | against | ratio | goal | |", "|---|---|---|---|---|---|"]
    lines += [_line(row) for row in result["rows"]]
    for name, about in result["measures"].items():
        if about["failed"]:
            reason = " ".join(about["failed"].replace("|", "/").split())
            lines.append(f"| `{name}` | | | | | failed: {reason} |")
    return "\n".join([*lines, "", *_basis(result)])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("file", type=Path)
    print(table(read(parser.parse_args().file)))


def _json(settings: Settings) -> dict[str, Any]:
    return {
        "device": settings.device.type,
        "smoke": settings.smoke,
        "repeats": settings.repeats,
        "options": settings.options,
    }


def _row(name: str, row: Row) -> dict[str, Any]:
    return {
        "measure": name,
        "name": row.name,
        "ours": row.ours,
        "against": row.against,
        "ratio": row.ratio,
        "goal": row.goal,
        "at_most": row.at_most,
        "reached": row.reached,
        "unit": row.unit,
        "note": row.note,
    }


def _line(row: dict[str, Any]) -> str:
    note = f" ({row['note']})" if row["note"] else ""
    goal = "" if row["goal"] is None else f"{'≤' if row['at_most'] else '≥'} {row['goal']:g}"
    verdict = "" if row["goal"] is None else "reached" if row["reached"] else "**falls short**"
    ours, against = (f"{_number(row[side])} {row['unit']}" for side in ("ours", "against"))
    return f"| {row['name']}{note} | {ours} | {against} | {row['ratio']:.3g} | {goal} | {verdict} |"


def _number(value: float) -> str:
    """Three digits, and the thousands apart: 226,000 and 1.36."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _basis(result: Result) -> list[str]:
    """Hardware and versions; the commits, days, number of repeats and duration of the measures."""
    about, measures = result["machine"], list(result["measures"].values())
    versions = [f"{LIBRARY_NAMES.get(key, key)} {value}" for key, value in about.items() if key not in _OWN and value]
    processor = f" on {about['processor']}" if about["processor"] != about["hardware"] else ""
    commits, dates, repeats = (
        ", ".join(sorted({str(v) for v in values if v}))
        for values in (
            [m["commit"] for m in measures],
            [m["date"] for m in measures],
            [m["settings"]["repeats"] for m in measures],
        )
    )
    seconds = sum(m["seconds"] for m in measures)
    lines = [
        f"{about['hardware']}{processor}, {about['system']}; Python {about['python']}, {', '.join(versions)}; {dates}, "
        f"commit {commits or 'unknown'}. Medians of {repeats}; {seconds / 60:.1f} minutes in all."
    ]
    if any(m["settings"]["smoke"] for m in measures):
        lines.append("A smoke run: it shows that the code runs, and its numbers mean nothing.")
    return lines


_OWN = ("hardware", "processor", "threads", "system", "python")  # keys of `machine` that are no library


if __name__ == "__main__":
    run_command(main)
