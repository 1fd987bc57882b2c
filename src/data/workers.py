"""What every worker process of the data code starts with."""

import signal

from src.processes import die_with_parent


def leave_stops_to_the_parent() -> None:
    """Drop the stage's signal handlers, which a forked worker inherits: its loader or pool ends it, without a word.

    Where the stage was killed and ends nothing any more, Linux does: a worker would wait for work for ever, and keep
    the stage's locks, which it has inherited too.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)
