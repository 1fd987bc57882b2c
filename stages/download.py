"""Download or copy the raw data of `data.source` into data/raw and verify it."""

import shutil

from src import artifacts
from src.data.sources import FETCHERS
from src.params import Params
from src.runtime.run import OLD_DATA, run_stage


def main(params: Params) -> None:
    """Fill data/raw again."""
    shutil.rmtree(artifacts.RAW, ignore_errors=True)
    artifacts.RAW.mkdir(parents=True)
    print(FETCHERS[params.data.source](params.data, artifacts.RAW))


if __name__ == "__main__":
    run_stage(main, OLD_DATA)
