"""Open the MLflow UI on 127.0.0.1 over the store that the runs of this repository go to.

It is MLflow's own application in one process, behind a guard. `mlflow server` (3.17.2) serves the same, but answers
names of any private network, reading pages of any site and all that they ask of /graphql; it also starts eight
processes for jobs, and a programming assistant that any user of this machine can give orders to.
"""

import argparse
import os
import re
import socket
from typing import TYPE_CHECKING

from commands import run_command
from src import artifacts
from src.addresses import redacted
from src.errors import UserError
from src.tracking_uri import is_server, tracking_uri

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = re.compile(rb"(127\.0\.0\.1|localhost)(:\d+)?")  # any port: another machine's UI comes through `ssh -L`


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m commands.ui", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=5000, help="0 takes any free one (%(default)s)")
    port = parser.parse_args().port

    from src.tracking import open_store

    uri = tracking_uri()
    if is_server(uri):
        shown = redacted(uri)
        raise UserError(f"the runs go to the MLflow server of MLFLOW_TRACKING_URI: open {shown} in a browser")
    with listen(port) as listening:
        _, experiment = open_store()  # made where it is missing: the UI also opens before the first run
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        page = f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning"
        print(f"MLflow UI (Ctrl-C ends it): {page}", flush=True)
        serve(application(uri), listening)


def listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1; a browser that comes before the application is loaded waits for it."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise UserError(f"port {port} cannot be had ({error}); choose another: make ui PORT=5001") from None
    return listening


def application(store: str) -> "ASGIApp":
    """MLflow's, as `mlflow server` sets it up, over `store`; without what runs programs or calls others; guarded."""
    from mlflow.server import constants

    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: store,
        constants.REGISTRY_STORE_URI_ENV_VAR: store,
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: (artifacts.root() / "mlartifacts").as_uri(),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        # Whatever the environment says: the guard decides who is answered, and MLflow adds its headers.
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1,127.0.0.1:*,localhost,localhost:*",
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "SAMEORIGIN",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
    }
    os.environ.pop("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", None)
    from mlflow.server.assistant.api import assistant_router

    assistant_router.routes.clear()  # before the application takes them; there is no setting
    from mlflow.server.fastapi_app import app

    return guarded(app)


def guarded(app: "ASGIApp") -> "ASGIApp":
    """`app` for requests to this machine's own name, typed by a person or sent by the application's own pages.

    A page of another site can make the browser send requests here. They carry its Origin, or, where its name was
    pointed at 127.0.0.1 (DNS rebinding), its Host; images and scripts that it embeds carry neither, but Sec-Fetch-Site.
    None of them can be forged in a browser. A link to here is followed.
    """
    from starlette.responses import PlainTextResponse

    refusal = PlainTextResponse("This server answers 127.0.0.1 and localhost, and no pages of other sites.\n", 403)

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
    except KeyboardInterrupt:  # uvicorn has ended in order, and raises it again
        print()


if __name__ == "__main__":
    run_command(main)
