"""One thin module per DVC stage. Each reads parameters, calls src, writes files and mirrors them to MLflow.

DVC starts every stage as `python -m stages.NAME` from the root of the workspace. Nothing imports a stage, except tests.
"""

import gc
import signal
import sys

from src.processes import die_with_parent, import_quietly

if sys.argv[0] == "-m":  # while Python looks for `-m stages.NAME`, but not when a test imports a stage
    # The stage now imports its libraries, which takes seconds and creates half a million lasting objects. Searching
    # them for garbage again and again takes a quarter of that time.
    gc.disable()
    die_with_parent(signal.SIGTERM)  # else training continues after `dvc` is killed
import_quietly()
