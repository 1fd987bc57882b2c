"""What every worker process of the data code starts with."""

import signal


def leave_stops_to_the_parent() -> None:
    """Drop the stage's signal handlers, which a forked worker inherits: its loader or pool ends it, without a word."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
