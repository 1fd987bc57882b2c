"""What a person runs beside the pipeline, as `python -m commands.NAME` from the repository root."""

import gc
import os
import signal
import sys
from collections.abc import Callable

from src.errors import redact_tracebacks, sentence
from src.processes import import_quietly

import_quietly()


def run_command(main: Callable[[], None]) -> None:
    """Call `main`; a mistake of the person ends with one message and exit code 1."""
    gc.freeze()  # the libraries' objects are never searched for garbage: else half of what reading tables takes
    redact_tracebacks()
    quiet = signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    if quiet:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python flushes once more, and complains
    except Exception as error:
        if told := sentence(error):
            sys.exit(f"error: {told}")
        raise
    except KeyboardInterrupt:
        sys.exit("stopped by Ctrl-C")
    finally:
        if quiet:  # again: the process ends, and Python would print what is raised now
            signal.signal(signal.SIGINT, signal.SIG_DFL)
