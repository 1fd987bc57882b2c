"""Run one training in several processes, one per device, with PyTorch's elastic agent, as torchrun does.

The agent runs in the process of the stage. It ends all processes as soon as one of them fails or the agent is stopped.
It never restarts them: the next start of the stage resumes from the last completed epoch. The processes of one node
find each other through a file and only communicate over the loopback device. Several nodes meet at RENDEZVOUS. That
protocol has no passwords, so it needs a trusted network.
"""

import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from src.errors import UserError, sentence
from src.processes import cores

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# Environment variables for several nodes, with the names of torchrun: HOST:PORT of the rendezvous on node 0, the number
# of this node, and its address for the other nodes if they cannot resolve its host name.
RENDEZVOUS, NODE, ADDRESS = "PET_RDZV_ENDPOINT", "PET_NODE_RANK", "PET_LOCAL_ADDR"
STORE = "NORMLENS_STORE"  # path of the file through which the processes of one node find each other
JOIN = 600  # seconds that a node waits for the others
CLEAN_UP = 15  # seconds that processes have to end before they are killed
# Messages about a lost connection. It follows from the failure of another process, which is the reason.
LOST = re.compile(r"gloo|NCCL|Dist(Backend|Network|Store)?Error|Connection (closed|reset)|Broken pipe")


class RankFailed(Exception):
    """A process of the training failed with an error of the program. Holds its traceback."""


def launched() -> bool:
    """Whether an agent started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def this_node(nodes: int) -> int:
    """The number of this node, from 0. Raises UserError with several nodes if it or the rendezvous is not set."""
    if nodes == 1:
        return 0
    number, place = os.environ.get(NODE, ""), os.environ.get(RENDEZVOUS, "")
    if not re.fullmatch("[0-9]{1,6}", number) or int(number) >= nodes:
        raise UserError(
            f"this training has {nodes} nodes, and each needs a number. Set {NODE} to 0 on the node that runs DVC, and "
            f"to another number below {nodes} on each that runs `python -m stages.train` (docs/scale/devices.md)"
        )
    if not re.fullmatch(r"\S+:[0-9]{1,5}", place):
        raise UserError(f"{nodes} nodes need a rendezvous. Set {RENDEZVOUS} to HOST:PORT of node 0 on each of them")
    return int(number)


def launch(arguments: Sequence[str], devices: int, nodes: int, device_type: str) -> None:
    """Run `python ARGUMENTS` once per device of this node, and return after all have succeeded.

    With CUDA each process sees only its own device. On the CPU they share the cores, unless OMP_NUM_THREADS is set.
    Raises UserError if a process failed by a user error, if one was killed, or if the nodes do not meet. Raises
    RankFailed for any other failure.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs  # here, because one device needs none of it
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    node = this_node(nodes)
    _silence()
    with TemporaryDirectory() as folder, _environment(_settings(Path(folder), devices, nodes)):
        alone = nodes == 1
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=devices,
            logs_specs=DefaultLogsSpecs(log_dir=folder),  # for the reasons of failures; the output goes to ours
            run_id="normlens",
            rdzv_backend="c10d",
            rdzv_endpoint=f"{folder}/rendezvous" if alone else os.environ[RENDEZVOUS],
            rdzv_configs={"store_type": "file"}
            if alone
            else {"is_host": node == 0, "join_timeout": JOIN, "read_timeout": JOIN},
            max_restarts=0,
            local_addr="127.0.0.1" if alone else os.environ.get(ADDRESS),
            signals_to_handle="",  # keep our handlers, which raise, so that the agent ends its processes
            virtual_local_rank=device_type == "cuda",
            shutdown_timeout=CLEAN_UP,
        )
        try:
            elastic_launch(config, sys.executable)(*arguments)
        except ChildFailedError as error:
            raise reason(error.failures) from None
        except RendezvousError as error:
            raise UserError(
                f"the {nodes} nodes did not meet at {os.environ[RENDEZVOUS]} within {JOIN} s: {error}. Start all "
                f"nodes, with {NODE} from 0 to {nodes - 1}"
            ) from None


def report(error: Exception) -> None:
    """Pass the reason for the failure of this process to the agent that started it."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    told = sentence(error)
    get_error_handler().record_exception(UserError(told) if told else error)


def reason(failures: "Mapping[int, ProcessFailure]") -> Exception:
    """The error to raise for failed processes, by rank: that of the first one that failed by itself.

    The other processes then lost their connection to it, or the agent ended them.
    """
    rank, failure = min(failures.items(), key=lambda item: (_consequence(item[1]), item[1].timestamp))
    kind, text, trace = _told(failure)
    if kind == "UserError":
        return UserError(text)
    if LOST.search(text):
        return UserError(
            f"a process of this training on another node has ended, or the connection is lost: {text}\n"
            "  Run the same commands again on all nodes. Training resumes from the last completed epoch"
        )
    if trace:
        return RankFailed(f"rank {rank} failed:\n{trace}")
    how = (
        f"was ended by {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else "ended without a message"
    )
    short = ", often because memory is short" if failure.exitcode == -signal.SIGKILL else ""
    return UserError(
        f"rank {rank} of the training (process {failure.pid}) {how}{short}. Training stopped. The same command resumes "
        "from the last completed epoch"
    )


def _consequence(failure: "ProcessFailure") -> int:
    """0 for a failure with its own reason, and higher if it more likely followed from another failure."""
    kind, text, _ = _told(failure)
    if kind:
        return 3 if kind != "UserError" and LOST.search(text) else 0
    return {-signal.SIGTERM: 2}.get(failure.exitcode, 1 if failure.exitcode < 0 else 4)


def _told(failure: "ProcessFailure") -> tuple[str, str, str]:
    """Type, text and traceback of the error that `report` left. '' if the process left nothing."""
    content = failure.message
    if not isinstance(content, dict):
        return "", "", ""
    kind, _, text = str(content["message"]).partition(": ")
    return kind, text, str(content["extraInfo"]["py_callstack"])


def _settings(folder: Path, devices: int, nodes: int) -> dict[str, str]:
    """Environment variables for the agent and its processes."""
    settings = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // devices)))}
    if nodes == 1:
        settings |= {STORE: str(folder / "store"), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # no open port
        settings |= {"TORCH_ELASTIC_WORKER_IDENTICAL": "1"}
        if sys.platform == "linux":
            settings |= {"GLOO_SOCKET_IFNAME": "lo"}
    return settings


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set the environment variables `values` for the block."""
    before = os.environ.copy()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _silence() -> None:
    """Silence the agent's log, which repeats the content of `reason`."""
    log = logging.getLogger("torch.distributed.elastic")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
