"""Commands for the results of the pipeline. Run them as `python -m commands.NAME` from the repository root.

Each is a thin module that calls src. Nothing imports a command, except tests and benchmarks.
"""

from src.processes import import_quietly

import_quietly()
