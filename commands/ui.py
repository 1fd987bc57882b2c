"""Open the MLflow UI on 127.0.0.1 over the store that the runs of this repository go to."""

import argparse
import os
import socket
import sys

from commands import run_command
from src.errors import UserError


def main() -> None:
    """Replace this process by the MLflow server; Ctrl-C ends it."""
    parser = argparse.ArgumentParser(prog="python -m commands.ui", description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    port = parser.parse_args().port

    from src.tracking import open_store, tracking_uri

    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        raise UserError(f"the runs go to the MLflow server of MLFLOW_TRACKING_URI: open {uri} in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(f"port {port} is in use; choose another: make ui PORT={port + 1}") from None
    _, experiment = open_store()  # made where it is missing: the UI also opens before the first run
    page = f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    print(f"MLflow UI, once it has started (Ctrl-C ends it): {page}", flush=True)
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    os.execv(sys.executable, [*server, "--host", "127.0.0.1", "--port", str(port)])


if __name__ == "__main__":
    run_command(main)
