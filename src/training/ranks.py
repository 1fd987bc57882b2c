"""The processes that train one model together, one a device; each is called by its number, its rank.

Every batch is one batch of all ranks, cut into as many parts, and every number that decides anything is the same on
each rank: a sum over all of them, or what rank 0 says. So they stop, resume and end together, and the loss curve is
that of one device, but for the order in which numbers are added up.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import FileStore, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from src.errors import UserError
from src.launch import NODE, STORE

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process, `rank`, of `count` ones, `here` of them on this node. Without others every method does nothing."""

    rank: int = 0
    count: int = 1
    here: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone writes and speaks."""
        return self.rank == 0

    def part(self, length: int) -> slice:
        """The part of `length` things that is this rank's: the parts follow each other and differ by at most one."""
        return slice(self.rank * length // self.count, (self.rank + 1) * length // self.count)

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, the same bits on each; in place."""
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def from_first(self, value: T) -> T:
        """What rank 0 calls this with."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def buffers_from_first(self, *models: nn.Module) -> None:
        """Set the running statistics of `models` to those of rank 0."""
        for model in models if self.count > 1 else ():
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def together(self, forward: nn.Module) -> nn.Module:
        """`forward` with the gradients of its parameters averaged over the ranks in each backward pass.

        DistributedDataParallel also begins with the weights of rank 0. It leaves buffers alone (forward_sync_buffers):
        in training nothing reads them, and once an epoch `buffers_from_first` suffices.
        """
        if self.count == 1:
            return forward
        return DistributedDataParallel(forward, forward_sync_buffers=False, gradient_as_bucket_view=True)


ALONE = Ranks()


@contextmanager
def joined(nodes: int, device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that the agents of `nodes` nodes have started: NCCL between GPUs, gloo on the CPU.

    The ranks of node 0 come first. UserError where the nodes do not fit together.
    """
    count, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if count != here * nodes:
        raise UserError(
            f"the {nodes} nodes have {count} devices together, and {here} of them are here: set train.devices to the "
            "same number on each"
        )
    # Agents number the nodes in an order of their own.
    rank = int(os.environ.get(NODE, "0") if nodes > 1 else 0) * here + int(os.environ["RANK"]) % here
    store = PrefixStore("ranks", _meeting_point())
    if store.add(f"rank {rank}", 1) > 1:
        raise UserError(f"two nodes say that they are number {rank // here}: set {NODE} to another number on each")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    yield Ranks(rank, count, here)
    dist.destroy_process_group()  # not after an error: it would wait for the others


def _meeting_point() -> Store:
    """Where the agents have put what the ranks need to know of each other."""
    if STORE in os.environ:
        return FileStore(os.environ[STORE])
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
