"""One training by many processes, one a device: started, watched and ended by PyTorch's elastic agent, as by torchrun.

The agent is the process of the stage. It ends all processes as soon as one of them fails or it is stopped itself, and
never starts them again: the next start of the stage goes on from the last whole epoch. The processes of one node find
each other through a file and talk on the loopback device alone. Several nodes meet where RENDEZVOUS says, by a protocol
that knows no passwords: on a network whose machines are trusted.
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

# Environment variables of several nodes, with torchrun's names: HOST:PORT on node 0, where all meet; the number of this
# node; the address of this node for the others, where its host name is none.
RENDEZVOUS, NODE, ADDRESS = "PET_RDZV_ENDPOINT", "PET_NODE_RANK", "PET_LOCAL_ADDR"
STORE = "NORMLENS_STORE"  # names the file through which the processes of one node find each other
JOIN = 600  # seconds that a node waits for the others
CLEAN_UP = 15  # seconds that processes have to end, before they are killed
# What is said of a lost connection: by then another process has failed, and that is the reason.
LOST = re.compile(r"gloo|NCCL|Dist(Backend|Network|Store)?Error|Connection (closed|reset)|Broken pipe")


class RankFailed(Exception):
    """A process of the training ended by an error of the program: its traceback."""


def launched() -> bool:
    """Whether this process is one that an agent started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def this_node(nodes: int) -> int:
    """The number of this node, from 0; UserError where nobody said it, or where the nodes meet, and there are more."""
    if nodes == 1:
        return 0
    number, place = os.environ.get(NODE, ""), os.environ.get(RENDEZVOUS, "")
    if not re.fullmatch("[0-9]{1,6}", number) or int(number) >= nodes:
        raise UserError(
            f"of {nodes} nodes this one must know its number: set {NODE} to 0 on the node that runs DVC, and to 1 to "
            f"{nodes - 1} where `python -m stages.train` helps it (docs/scale/devices.md)"
        )
    if not re.fullmatch(r"\S+:[0-9]{1,5}", place):
        raise UserError(f"{nodes} nodes need a place to meet: set {RENDEZVOUS} to HOST:PORT of node 0 on each of them")
    return int(number)


def launch(arguments: Sequence[str], devices: int, nodes: int, device_type: str) -> None:
    """Run `python ARGUMENTS` once for each of the `devices` of this node, and return when all have ended well.

    With CUDA each process sees its own device alone. On the CPU they share the cores, where OMP_NUM_THREADS does not
    say otherwise. UserError where one failed by a mistake that a person can mend or was killed, and where the nodes do
    not meet; else RankFailed.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs  # here: for one device nobody needs them
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
            logs_specs=DefaultLogsSpecs(log_dir=folder),  # for the reasons of failures; what they print goes to ours
            run_id="normlens",
            rdzv_backend="c10d",
            rdzv_endpoint=f"{folder}/rendezvous" if alone else os.environ[RENDEZVOUS],
            rdzv_configs={"store_type": "file"}
            if alone
            else {"is_host": node == 0, "join_timeout": JOIN, "read_timeout": JOIN},
            max_restarts=0,
            local_addr="127.0.0.1" if alone else os.environ.get(ADDRESS),
            signals_to_handle="",  # ours stay: they raise, and the agent ends its processes on the way out
            virtual_local_rank=device_type == "cuda",
            shutdown_timeout=CLEAN_UP,
        )
        try:
            elastic_launch(config, sys.executable)(*arguments)
        except ChildFailedError as error:
            raise reason(error.failures) from None
        except RendezvousError as error:
            raise UserError(
                f"the {nodes} nodes did not meet at {os.environ[RENDEZVOUS]} within {JOIN} s: {error}. Start all of "
                f"them, with {NODE} from 0 to {nodes - 1}"
            ) from None


def report(error: Exception) -> None:
    """Leave the reason of this process's failure for the agent that started it."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    told = sentence(error)
    get_error_handler().record_exception(UserError(told) if told else error)


def reason(failures: "Mapping[int, ProcessFailure]") -> Exception:
    """The error to raise for what became of the processes (by rank): of the one that failed first and by itself.

    The others then lost their connection to it, or were ended by the agent.
    """
    rank, failure = min(failures.items(), key=lambda item: (_consequence(item[1]), item[1].timestamp))
    kind, text, trace = _told(failure)
    if kind == "UserError":
        return UserError(text)
    if LOST.search(text):
        return UserError(f"a process of this training on another node has ended, or the way to it is cut: {text}")
    if trace:
        return RankFailed(f"rank {rank} failed:\n{trace}")
    how = f"was ended by {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else "ended without a word"
    short = ", often because memory is short" if failure.exitcode == -signal.SIGKILL else ""
    return UserError(
        f"rank {rank} of the training (process {failure.pid}) {how}{short}: training stopped, and the same command "
        "goes on from the last whole epoch"
    )


def _consequence(failure: "ProcessFailure") -> int:
    """0 for a reason of its own, and more the more likely the failure followed from another one."""
    kind, text, _ = _told(failure)
    if kind:
        return 3 if kind != "UserError" and LOST.search(text) else 0
    return {-signal.SIGTERM: 2}.get(failure.exitcode, 1 if failure.exitcode < 0 else 4)


def _told(failure: "ProcessFailure") -> tuple[str, str, str]:
    """The error's class, its text and traceback, as `report` left them; '' where the process left nothing."""
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
    """`values` among the environment variables within the block."""
    before = os.environ.copy()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _silence() -> None:
    """The agent's own log repeats, in its words, what `reason` says."""
    log = logging.getLogger("torch.distributed.elastic")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
