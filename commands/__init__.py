"""Commands for the results of the pipeline. Run them as `python -m commands.NAME` from the repository root."""

import gc
import os
import signal
import sys
from collections.abc import Callable

from src.errors import redact_tracebacks, sentence
from src.processes import import_quietly

import_quietly()


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
