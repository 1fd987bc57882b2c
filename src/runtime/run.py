"""Run the main function of a stage or command: signals, garbage collection and error messages."""

import gc
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from types import FrameType

from src import artifacts, git
from src.errors import UserError, redact_tracebacks, sentence
from src.params import Params, load_params
from src.processes import keep_memory

STOPS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
CLEAN_UP = 15.0  # seconds; an MLflow server that does not answer takes 5


class Stopped(BaseException):
    """SIGTERM or Ctrl-C, so that `with` and `finally` blocks run. Not an Exception, so that no code catches it."""


# Printed after an error of a stage that makes data, because DVC has deleted its outputs before the start.
OLD_DATA = f"\n  Restore the previous data with: {git.undo(artifacts.PARAMS)} && dvc checkout"


def run_stage(main: Callable[[Params], None], after_error: str = "") -> None:
    """Call `main` with the validated parameters. Print user errors as one message, and exit non-zero on a stop.

    With exit code 0 after a stop, DVC would commit a partial result as a success.
    """
    gc.freeze()  # the libraries are loaded: never search their objects again
    gc.enable()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # else a redirected run only shows its epochs at the end
    keep_memory()
    redact_tracebacks()
    for stop in STOPS:
        if signal.getsignal(stop) != signal.SIG_IGN:  # background jobs of a shell inherit an ignored Ctrl-C
            signal.signal(stop, _stop)
    try:
        try:
            reject_shallow_clone()
            main(load_params())
        except Exception as error:
            if told := sentence(error):
                sys.exit(f"error: {told}{'' if artifacts.in_temporary_copy() else after_error}")
            raise
    except Stopped as by:  # also while an error is reported
        sys.exit(f"stopped by {by}. The same command resumes from the last completed epoch")
    finally:
        for stop in STOPS:
            if signal.getsignal(stop) == _stop:  # the clean-up is done, and Python would print a traceback from now on
                signal.signal(stop, signal.SIG_DFL)
        gc.freeze()  # the process ends: a last search would take a second with torch and mlflow loaded


def run_command(main: Callable[[], None]) -> None:
    """Call `main`. Print user errors as one message and exit with code 1."""
    gc.freeze()  # never search the objects of libraries for garbage, which takes half of the time for reading tables
    redact_tracebacks()
    quiet = signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    if quiet:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python flushes again and complains
    except Exception as error:
        if told := sentence(error):
            sys.exit(f"error: {told}")
        raise
    except KeyboardInterrupt:
        sys.exit("stopped by Ctrl-C")
    finally:
        if quiet:  # the process ends, and Python would print a traceback for a further Ctrl-C
            signal.signal(signal.SIGINT, signal.SIG_DFL)


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
