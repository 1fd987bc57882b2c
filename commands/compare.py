"""Compare groups of finished runs: do they differ, by how much, and is the difference significant?

Reads runs from the MLflow store. Writes reports/compare.html, reports/compare.json and the figures in reports/compare,
and logs them to the MLflow experiment `comparisons`.
"""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from src import artifacts
from src.comparison.groups import Group, group, grouping_keys, notes_on, reached_targets
from src.comparison.make_maps import make_maps
from src.comparison.maps import Maps
from src.comparison.read import read_runs
from src.comparison.result import Comparison, to_json
from src.comparison.tables import sentences, to_text
from src.data import prepared
from src.errors import UserError
from src.figures.comparison import draw
from src.figures.style import save
from src.pages.comparison import to_html
from src.params import load_params
from src.runtime.run import run_command
from src.tracking import log_comparison
from src.wording import counted

PAGE = Path("reports/compare.html")
NUMBERS = Path("reports/compare.json")
PICTURES = Path("reports/compare")


def main() -> None:
    """Print the tables and sentences, write the page and the numbers, and log them."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="id or name of a run or an experiment (default: all)")
    parser.add_argument(
        "--by", default="", help="parameters to group by, such as norm,train.schedule (default: all that differ)"
    )
    parser.add_argument("--where", default="", help="""MLflow filter, such as "params.model.width = '64'" """)
    parser.add_argument(
        "--to-accuracy", default="", metavar="A,B", help="validation accuracies to count epochs to, such as 0.5,0.9"
    )
    parser.add_argument(
        "--cam-runs", type=int, default=3, metavar="N", help="runs per group whose maps are compared (%(default)s)"
    )
    parser.add_argument("--no-cams", action="store_true", help="skip the maps, which take longest")
    arguments = parser.parse_args()
    if arguments.cam_runs < 1:
        raise UserError(f"--cam-runs is {arguments.cam_runs}. It must be at least 1. To skip the maps use: --no-cams")
    asked = accuracies(arguments.to_accuracy)

    selection = read_runs(arguments.runs, arguments.where)
    runs = selection.runs
    by = grouping_keys(runs, split(arguments.by))
    groups = group(runs, by)
    notes = [*notes_on(groups, by), *selection.left_out]
    maps = None
    if not arguments.no_cams and len(runs) > 1:
        maps, why = explained(groups, arguments.cam_runs)
        notes += why
    comparison = Comparison(by, groups, asked or reached_targets(runs), notes, maps)
    print(f"{counted(len(runs), 'run')}, grouped by {', '.join(by)}\n\n{to_text(comparison)}\n")
    pictures = write(comparison)
    print(f"{PAGE}  (open it in a browser)\n{NUMBERS}")
    made_of = [sorted(run.id for run in runs), by, list(comparison.targets), maps is not None]
    key = artifacts.sha256_json(made_of)[:32]
    tags = {
        "runs": ",".join(run.id for run in runs),
        "by": ",".join(by),
        "mlflow.note.content": "\n".join(f"- {sentence}" for sentence in sentences(comparison)),
    }
    run_id = log_comparison(key, f"by {', '.join(by)}"[:200], tags, [PAGE, NUMBERS, *pictures])
    print(f"MLflow run {run_id} in the experiment comparisons")


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def accuracies(text: str) -> list[float]:
    """Parse fractions from the command line, lowest first."""
    try:
        values = sorted({float(part) for part in split(text)})
    except ValueError:
        values = [0.0]
    if not all(0 < value <= 1 for value in values):
        raise UserError(f"--to-accuracy is {text}. Give fractions above 0 and at most 1, such as 0.5,0.9")
    return values


def explained(groups: list[Group], per_group: int) -> tuple[Maps | None, list[str]]:
    """Maps of the test images in this workspace, or the reason for none. The comparison continues without them."""
    bar = partial(tqdm, desc="maps", unit="run", delay=1, leave=False)
    try:
        params = load_params()
        there = (artifacts.PREPARED / prepared.META).exists()
        data, files = (prepared.load(), prepared.load_files("test")) if there else (None, [])
        return make_maps(groups, data, params, per_group, bar, files), []
    except UserError as error:
        return None, [f"no maps were made: {error}"]


def write(comparison: Comparison) -> list[Path]:
    """Write page, numbers and figures. Delete figures of an earlier comparison. Returns the paths of the figures."""
    figures = draw(comparison)
    for old in PICTURES.glob("*.png"):
        if old.stem not in figures:
            old.unlink()
    files = {name: PICTURES / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        save(figure, files[name])
    artifacts.write_json(NUMBERS, to_json(comparison))
    artifacts.write_text(PAGE, to_html(comparison, {name: file.read_bytes() for name, file in files.items()}))
    return list(files.values())


if __name__ == "__main__":
    run_command(main)
