"""Ask DVC about this workspace."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from src.errors import UserError

BUSY = 75  # exit code of STATUS
WAIT = 120  # seconds to wait for another DVC command
# Like `dvc status --json`, which does not report separately that another command holds DVC's lock.
STATUS = f"""
import json, sys, time
from dvc.cli import main
from dvc.lock import LockError
from dvc.repo import Repo

end = time.monotonic() + float(sys.argv[1])
while True:
    try:
        print(json.dumps(Repo().status()))
        break
    except LockError:  # after three seconds
        if time.monotonic() > end:
            sys.exit({BUSY})
    except Exception:
        sys.exit(main(["status", "--json"]))  # prints DVC's own error message
"""


def stale_stages(stages: Sequence[str]) -> list[str]:
    """Those of `stages` whose files do not match the parameters, code and data of this workspace, according to DVC.

    If another DVC command locks the workspace, prints a message and waits at most WAIT seconds.
    """
    status = _status(0)
    if status.returncode == BUSY:
        print(f"waiting for another DVC command in this workspace, at most {WAIT} s", flush=True)
        status = _status(WAIT)
    if status.returncode == BUSY:
        raise UserError(
            f"another DVC command has locked this workspace for {WAIT} s, so `dvc status` cannot run. Wait until that "
            "command ends, or stop it. Then run this command again"
        )
    if status.returncode != 0:
        raise UserError(f"`dvc status` failed: {status.stderr.strip()}")
    return [stage for stage in stages if stage in json.loads(status.stdout)]


def _status(wait: float) -> "subprocess.CompletedProcess[str]":
    """Run STATUS, which waits `wait` seconds for DVC's lock, and about three seconds more."""
    return subprocess.run([sys.executable, "-c", STATUS, str(wait)], capture_output=True, text=True, check=False)


def remote_url(remote: str) -> str:
    """The address of a remote of this repository. Raises UserError if there is no such remote."""
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "list"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(rf"^{re.escape(remote)}\s+(.+?)(\s+\(default\))?$", listed, re.MULTILINE)
    if not found:
        raise UserError(f"there is no DVC remote {remote!r}. Add it with: dvc remote add {remote} ADDRESS")
    return found[1]
