"""The processes that train one model together, one process per device. The number of a process is its rank.

Every batch is split over the ranks. Every number that affects a decision is the same on each rank: either a sum over
all ranks, or the value of rank 0. So all ranks stop, resume and end together. The loss curve is that of one device,
except for the order of additions.
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
    """This process's rank among `count`, `here` of them on this node. Methods do nothing if it is alone."""

    rank: int = 0
    count: int = 1
    here: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the only rank that writes files and prints."""
        return self.rank == 0

    def part(self, length: int) -> slice:
        """This rank's slice of `length` items. The slices are contiguous and differ by at most one item."""
        return slice(self.rank * length // self.count, (self.rank + 1) * length // self.count)

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """Sum `numbers` over all ranks in place, with the same bits on each rank."""
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def from_first(self, value: T) -> T:
        """Return the `value` that rank 0 passes. Every rank calls this method."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def buffers_from_first(self, *models: nn.Module) -> None:
        """Copy the running statistics of `models` from rank 0."""
        for model in models if self.count > 1 else ():
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def together(self, forward: nn.Module) -> nn.Module:
        """Wrap `forward` so that each backward pass averages the gradients over the ranks.

        DistributedDataParallel also copies the initial weights from rank 0. It does not synchronise buffers
        (`forward_sync_buffers`): training does not read them, and `buffers_from_first` copies them once per epoch.
        """
        if self.count == 1:
            return forward
        return DistributedDataParallel(forward, forward_sync_buffers=False, gradient_as_bucket_view=True)


ALONE = Ranks()


@contextmanager
def joined(nodes: int, device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that the agents of `nodes` nodes started, over NCCL between GPUs and gloo on the CPU.

    The ranks of node 0 come first. Raises UserError if the nodes differ in their number of devices, or if two have
    the same node number.
    """
    count, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if count != here * nodes:
        raise UserError(
            f"the {nodes} nodes have {count} devices in total and this one has {here}, but all nodes need the same "
            "number. Set train.devices to it in params.yaml on each node"
        )
    # The agents number the nodes in another order.
    rank = int(os.environ.get(NODE, "0") if nodes > 1 else 0) * here + int(os.environ["RANK"]) % here
    store = PrefixStore("ranks", _meeting_point())
    if store.add(f"rank {rank}", 1) > 1:
        raise UserError(f"two nodes have the number {rank // here}. Set {NODE} to a different number on each node")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    yield Ranks(rank, count, here)
    dist.destroy_process_group()  # not after an error: it would wait for the other ranks


def _meeting_point() -> Store:
    """The store in which the agents left what the ranks need to find each other."""
    if STORE in os.environ:
        return FileStore(os.environ[STORE])
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
