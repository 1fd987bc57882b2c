"""Train a model in this process, or in one process per device.

With several devices, this process launches itself once per device (src/launch.py). It holds the locks and reports
errors.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from src import artifacts
from src.errors import UserError
from src.launch import launch, launched, report, this_node
from src.model.device import count_devices
from src.params import Params
from src.processes import die_with_parent
from src.runtime.run import Stopped
from src.runtime.slots import compute_turn
from src.tracking import Mirror
from src.training.checkpoint import model_lock
from src.training.ranks import ALONE, Ranks, joined
from src.training_task import Task, read_task

ARGUMENTS = ("-m", "stages.train")  # of Python, for one process


def on_devices(params: Params, device: torch.device, make: Callable[[Params, Task, Ranks], None]) -> None:
    """Call `make` in this process, or in one process per device of this node, with the model locked on node 0.

    Raises UserError if the devices cannot train together, and RankFailed if a process had an error of the program.
    """
    nodes = params.train.nodes
    if launched():
        with _reported(), joined(nodes, device) as ranks:
            task = read_task(params, device, ranks.count)
            if ranks.from_first(task.key) != task.key:
                raise UserError(
                    f"rank {ranks.rank} has different parameters, data or code than rank 0. All nodes need the same "
                    "commit, params.yaml, data/prepared and models/lr.json"
                )
            make(params, task, ranks)
        return
    devices, node = count_devices(params.train.devices, device), this_node(nodes)
    if node > 0:
        tqdm.write(f"node {node} of {nodes}: training on {devices} devices. Only node 0 writes results")
        launch(ARGUMENTS, devices, nodes, device.type)
        return
    task = read_task(params, device, devices * nodes)
    with model_lock(artifacts.root() / ".locks", task.key, tqdm.write):
        if devices * nodes == 1:
            make(params, task, ALONE)
            return
        with compute_turn(device):
            try:
                launch(ARGUMENTS, devices, nodes, device.type)
            except BaseException:
                with Mirror(params, task.key):  # rank 0 only knows its own errors, and may have been killed
                    raise


@contextmanager
def _reported() -> Iterator[None]:
    """Report the error of a launched process to its agent, and end with the agent."""
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the agent receives Ctrl-C too
    try:
        try:
            yield
        except Exception as error:
            report(error)
            sys.exit(1)
    except Stopped:  # also while an error is reported: the agent stops ranks that lost a dead one
        sys.exit(1)
