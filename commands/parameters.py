"""Write docs/reference/parameters.md: every key of params.yaml with its value, allowed values, comment and readers.

Run it after a change of params.yaml, src/params.py or the parameters in dvc.yaml.
"""

import argparse
from pathlib import Path

from src import artifacts
from src.artifacts import PARAMS
from src.config.reference import page
from src.runtime.run import run_command
from src.yaml_files import read_yaml

PAGE = Path("docs/reference/parameters.md")
PIPELINE = Path("dvc.yaml")


def main() -> None:
    """Write the page and print its path."""
    argparse.ArgumentParser(
        prog="python -m commands.parameters", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    artifacts.write_text(PAGE, page(PARAMS.read_text(encoding="utf-8"), read_yaml(PIPELINE)))
    print(PAGE)


if __name__ == "__main__":
    run_command(main)
