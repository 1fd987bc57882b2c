"""Named sets of parameters, each a partial `params.yaml`; the first line of a file says what it is for."""

from src.processes import import_quietly

import_quietly()
