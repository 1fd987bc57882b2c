"""Training steps without the rest: ours over batches from anywhere, and the loop anyone would write first."""

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from benchmarks.harness import now, params_with, random_data
from src.data.augmenters import make_augmenter
from src.data.loader import Batch, set_epoch, train_loader
from src.data.prepared import Prepared
from src.model.device import prefers_channels_last, resolve_precision
from src.params import Params
from src.training.forward import FromPixels
from src.training.loop import train_epoch
from src.training.optimisers import make_optimizer
from src.training.schedules import make_schedule
from src.training.untrained import new_model

LR = 0.001
CLASSES = 10


def our_loader(data: Prepared, params: Params, device: torch.device) -> DataLoader[Batch]:
    """The loader that the stage `train` makes of these parameters."""
    return train_loader(
        data.train,
        make_augmenter(params.augment, data.size, params.seed),
        batch_size=params.train.batch_size,
        seed=params.seed,
        workers=params.train.workers,
        device=device,
    )


class Ours:
    """A model in training by params.yaml with dotted `changes`."""

    def __init__(self, changes: dict[str, Any], device: torch.device, images: int = CLASSES) -> None:
        """`images` of noise are the data that `augmented` draws from."""
        self.params = params_with({"train.schedule": "constant"} | changes)
        self.device = device
        self.data = random_data(images)
        channels_last = prefers_channels_last(self.params.norm, device)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model = new_model(self.params, CLASSES)
        precision = resolve_precision(self.params.precision, device)
        self.forward = FromPixels(
            model.to(device).to(memory_format=layout), self.data, device, precision, channels_last
        )
        self.optimizer = make_optimizer(model.parameters(), LR, self.params)
        self.schedule = make_schedule(self.optimizer, LR, 1, self.params)
        self.loader = our_loader(self.data, self.params, device)
        self._epochs = itertools.count(1)

    def resident(self, steps: int, warm_up: int = 0) -> float:
        """Images/s over `steps` steps, after `warm_up` unmeasured ones, with one batch that is on the device."""
        shape = (self.params.train.batch_size, 32, 32, 3)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, device=self.device)
        labels = torch.randint(0, CLASSES, shape[:1], device=self.device)
        if warm_up:
            self._seconds([(images, labels)] * warm_up)
        return steps * len(labels) / self._seconds([(images, labels)] * steps)

    def augmented(self, steps: int) -> float:
        """Images/s over `steps` steps with augmentation, from the start of an epoch on that was not seen before."""
        part = Part(self.loader, steps, self._epochs)
        seconds = self._seconds(part)
        return part.images / seconds

    def _seconds(self, batches: "Sequence[Batch] | Part") -> float:
        start = now(self.device)
        train_epoch(
            self.forward,
            batches,  # type: ignore[arg-type]  # all that it needs is a length and an iterator
            self.optimizer,
            self.schedule,
            self.params,
            self.device,
            epoch=1,
            say_estimate=None,
        )
        return now(self.device) - start


class Part:
    """`steps` batches of a loader, from as many of the next `epochs` as that takes; `images` counts theirs."""

    def __init__(self, loader: Any, steps: int, epochs: Iterator[int]) -> None:
        self.loader = loader
        self.steps = steps
        self.epochs = epochs
        self.images = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        return itertools.islice(self._batches(), self.steps)

    def _batches(self) -> Iterator[Batch]:
        for epoch in self.epochs:
            set_epoch(self.loader, epoch)
            for images, labels in self.loader:
                self.images += len(labels)
                yield images, labels


class Plain:
    """The same model in a plain loop: fp32, PyTorch's own memory layout, nothing tuned."""

    def __init__(self, changes: dict[str, Any], device: torch.device) -> None:
        params = params_with(changes)
        self.device = device
        self.model = new_model(params, CLASSES).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), LR, momentum=0.9, weight_decay=5e-4)
        self.images = torch.randn(params.train.batch_size, 3, 32, 32, device=device)
        self.labels = torch.randint(0, CLASSES, (params.train.batch_size,), device=device)

    def resident(self, steps: int, warm_up: int) -> float:
        """Images/s over `steps` steps, after `warm_up` unmeasured ones, with one batch that is on the device."""
        for step in range(warm_up + steps):
            if step == warm_up:
                start = now(self.device)
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(self.images), self.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return steps * len(self.labels) / (now(self.device) - start)


@contextmanager
def elsewhere(environment: dict[str, str]) -> Iterator[ProcessPoolExecutor]:
    """A new process with these environment variables, kept for the block: what it builds once stays warm."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, environment):
            pool.submit(os.getpid).result()  # starts it, with the environment as it is now
        yield pool


def call(pool: ProcessPoolExecutor, function: Callable[..., float], *arguments: Any) -> float:
    """The result of `function` in the process of `pool`."""
    return pool.submit(function, *arguments).result()


def plain_rate(changes: str, device: str, steps: int, warm_up: int) -> float:
    """`Plain.resident`, of a model that the calling process keeps from call to call; `changes` are JSON."""
    return _plain(changes, device).resident(steps, warm_up)


@lru_cache(maxsize=1)
def _plain(changes: str, device: str) -> Plain:
    return Plain(json.loads(changes), torch.device(device))
