"""What a person runs beside the pipeline, as `python -m commands.NAME` from the repository root."""

import sys
from collections.abc import Callable

from src.errors import UserError


def run_command(main: Callable[[], None]) -> None:
    """Call `main`; a mistake of the person ends with one message and exit code 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped by Ctrl-C")
