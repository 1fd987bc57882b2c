"""Open the MLflow UI on 127.0.0.1 for the runs of this repository.

This runs MLflow's own application in one process behind a guard. `mlflow server` (3.17.2) also serves the application,
but accepts host names of any private network, and requests of pages from other sites for reading and for /graphql. It
also starts eight job processes, and a programming assistant that any user of this machine can command.
"""

import argparse
import os
import re
import socket
from typing import TYPE_CHECKING

from src import artifacts
from src.addresses import redacted
from src.errors import UserError
from src.runtime.run import run_command
from src.tracking_uri import is_server, tracking_uri

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = re.compile(rb"(127\.0\.0\.1|localhost)(:\d+)?")  # any port, for connections through `ssh -L`


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m commands.ui", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=5000, help="port, or 0 for any free one (%(default)s)")
    port = parser.parse_args().port

    from src.tracking import open_store

    uri = tracking_uri()
    if is_server(uri):
        shown = redacted(uri)
        raise UserError(f"the runs are on the MLflow server of MLFLOW_TRACKING_URI. Open {shown} in a browser")
    with listen(port) as listening:
        _, experiment = open_store()  # creates it, so that the UI also opens before the first run
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        page = f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning"
        print(f"MLflow UI (stop it with Ctrl-C): {page}", flush=True)
        serve(application(uri), listening)


def listen(port: int) -> socket.socket:
    """Listen on 127.0.0.1. A browser that connects before the application is loaded waits for it."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise UserError(f"port {port} cannot be used ({error}). Choose another one: make ui PORT=5001") from None
    return listening


def application(store: str) -> "ASGIApp":
    """MLflow's application for `store`, set up as by `mlflow server`, guarded and without jobs and assistant."""
    from mlflow.server import constants

    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: store,
        constants.REGISTRY_STORE_URI_ENV_VAR: store,
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: (artifacts.root() / "mlartifacts").as_uri(),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        # Set regardless of the environment. The guard decides on requests, and MLflow adds its headers.
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1,127.0.0.1:*,localhost,localhost:*",
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "SAMEORIGIN",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
    }
    os.environ.pop("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", None)
    from mlflow.server.assistant.api import assistant_router

    assistant_router.routes.clear()  # before the application includes them; there is no setting for it
    from mlflow.server.fastapi_app import app

    return guarded(app)


def guarded(app: "ASGIApp") -> "ASGIApp":
    """Restrict `app` to requests for this machine's own name, typed by the user or sent by the application's own pages.

    A page of another site can make the browser send requests to this server. They carry that site's Origin, or its Host
    if its name was pointed at 127.0.0.1 (DNS rebinding). Embedded images and scripts carry neither, but Sec-Fetch-Site.
    Pages cannot forge these headers in a browser. Links to this server work.
    """
    from starlette.responses import PlainTextResponse

    refusal = PlainTextResponse(
        "This server only answers requests to 127.0.0.1 or localhost, and none from pages of other sites.\n", 403
    )

    async def guard(scope: "Scope", receive: "Receive", send: "Send") -> None:
        hosts, origins, sites, modes = (
            [value for key, value in scope.get("headers", []) if key == name]
            for name in (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode")
        )
        ours = len(hosts) == 1 and HOST.fullmatch(hosts[0]) and set(origins) <= {b"http://" + hosts[0]}
        ours = ours and (set(sites) <= {b"same-origin", b"none"} or modes == [b"navigate"])
        await (app if ours or scope["type"] == "lifespan" else refusal)(scope, receive, send)

    return guard


def serve(app: "ASGIApp", listening: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM."""
    import uvicorn

    try:
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises it again after its own clean-up
        print()


if __name__ == "__main__":
    run_command(main)
