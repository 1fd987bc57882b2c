"""One thin module a DVC stage: read params, call src, write files, mirror to MLflow.

Every stage is started as `python -m stages.NAME` from the root of the workspace, by DVC.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from src.errors import UserError
from src.params import Params, load_params


class Stopped(BaseException):
    """SIGTERM as an exception, so that `with` and `finally` blocks run. Not an Exception: nothing may swallow it."""


def run_stage(main: Callable[[Params], None]) -> None:
    """Call `main` with the validated parameters; a UserError is printed, a stop ends with a non-zero exit.

    The exit must not be 0 on a stop: DVC would commit a half-written result as a success.
    """
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    _die_with_parent()
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(load_params())
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped by Ctrl-C; the next `dvc repro` goes on from the last whole epoch")
    except Stopped:
        sys.exit("stopped by SIGTERM; the next `dvc repro` goes on from the last whole epoch")


def _stop(signum: int, frame: FrameType | None) -> None:
    raise Stopped


def _die_with_parent() -> None:
    """Ask Linux to send SIGTERM when DVC dies: else a killed `dvc` leaves the trainer running as an orphan."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
