"""Run the main function of a stage or command: signals, garbage collection and error messages."""

import gc
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from types import FrameType
from typing import Any

from src import artifacts, git
from src.errors import UserError, redact_tracebacks, sentence
from src.params import Params, load_params
from src.processes import keep_memory

STOPS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
CLEAN_UP = 15.0  # seconds; an MLflow server that does not answer takes 5
# Printed after an error of a stage that makes data, because DVC has deleted its outputs before the start.
OLD_DATA = f"\n  Restore the previous data with: {git.undo(artifacts.PARAMS)} && dvc checkout"


class Stopped(BaseException):
    """SIGTERM or Ctrl-C, so that `with` and `finally` blocks run. Not an Exception, so that no code catches it."""


def run_stage(main: Callable[[Params], None], after_error: str = "") -> None:
    """Call `main` with the validated parameters. SIGTERM and Ctrl-C raise Stopped. `after_error` ends error messages.

    The exit code after a stop is not 0, otherwise DVC would commit a partial result as a success.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # else a redirected run only shows its epochs at the end
    keep_memory()

    def work() -> None:
        reject_shallow_clone()
        main(load_params())

    _run(
        work,
        dict.fromkeys(STOPS, _stop),
        after_error="" if artifacts.in_temporary_copy() else after_error,
        after_stop=". The same command resumes from the last completed epoch",
    )


def run_command(main: Callable[[], None]) -> None:
    """Call `main`. Ctrl-C raises KeyboardInterrupt. A reader that closes the pipe early (`head`) is no error."""

    def work() -> None:
        try:
            main()
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python complains at its end

    _run(work, {signal.SIGINT: signal.default_int_handler})


def _run(
    work: Callable[[], None], handlers: Mapping[signal.Signals, Any], after_error: str = "", after_stop: str = ""
) -> None:
    """Call `work` with the signal handlers `handlers`. A user error or a stop becomes one message and exit code 1."""
    gc.freeze()  # the libraries are loaded: never search their objects again
    gc.enable()
    redact_tracebacks()
    before = {stop: signal.getsignal(stop) for stop in handlers}
    for stop, handler in handlers.items():
        if before[stop] != signal.SIG_IGN:  # background jobs of a shell inherit an ignored Ctrl-C
            signal.signal(stop, handler)
    try:
        try:
            work()
        except Exception as error:
            if told := sentence(error):
                sys.exit(f"error: {told}{after_error}")
            raise
    except (Stopped, KeyboardInterrupt) as by:  # also while an error is reported
        sys.exit(f"stopped by {str(by) or STOPS[signal.SIGINT]}{after_stop}")
    finally:
        for stop in handlers:  # the clean-up is done, and Python would print a traceback from now on
            if signal.getsignal(stop) != signal.SIG_IGN:
                signal.signal(stop, before[stop])
        gc.freeze()  # the process ends: a last search would take a second with torch and mlflow loaded


def reject_shallow_clone() -> None:
    """Raise UserError in a temporary copy of a shallow clone, where DVC loses the experiment and reports success.

    The git repository of the copy lacks the parents of the oldest commit, so DVC fails to fetch the result and ignores
    the error. Every stage calls this, because DVC skips `check` if its cache has the same parameters.
    """
    root = artifacts.root()
    if artifacts.in_temporary_copy() and git.shallow(root):
        raise UserError(
            f"{root} is a shallow clone, and this experiment runs in a temporary copy of it (--queue or --temp). DVC "
            "would lose the result.\n"
            f"  Get the missing commits with: git -C {shlex.quote(str(root))} fetch --unshallow\n"
            "  Then run the experiment again. In a shallow clone `dvc exp run` only works without --queue and --temp"
        )


_deaf_until = 0.0  # on the monotonic clock


def _stop(signum: int, frame: FrameType | None) -> None:
    """Raise Stopped. Ignore further stops during the clean-up, which they would interrupt.

    After CLEAN_UP seconds, stops count again. Python ignores exceptions in a `__del__`, so a first stop may be lost.
    """
    global _deaf_until
    if time.monotonic() >= _deaf_until:
        _deaf_until = time.monotonic() + CLEAN_UP
        raise Stopped(STOPS[signal.Signals(signum)])
