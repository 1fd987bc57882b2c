"""Training on its own: the step against a plain loop and against the machine's floor, augmentation, norms, growth."""

import json
import resource
import sys
from functools import partial
from importlib import import_module
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.epoch import train_rates
from benchmarks.harness import (
    COPY_BYTES,
    MATMUL_SIDE,
    PLAIN,
    Row,
    Settings,
    copy_bandwidth,
    floor_seconds,
    in_process,
    in_turn,
    in_turn_cold,
    matmul_rate,
)
from benchmarks.session import LR, Ours, call, elsewhere, plain_rate
from src.model.device import resolve_precision
from stages import keep_memory

BATCHES = {"cpu": (64, 512), "cuda": (256, 512, 1024)}
FLOOR_GOAL = {"cpu": 0.65, "cuda": 0.60}
AUGMENTED_GOAL = {"cpu": 0.97, "cuda": 0.92}
NORMS_GOAL = {"cpu": 0.95, "cuda": 0.85}
MEMORY_LIMIT = 3e9  # bytes, on the CPU, with two workers


def step(settings: Settings) -> list[Row]:
    """Images/s of our step against a plain eager one, fp32 and NCHW, for several batch sizes."""
    rows = []
    with elsewhere(PLAIN) as pool:
        for batch in (8,) if settings.smoke else BATCHES[settings.device.type]:
            changes = {"train.batch_size": batch} | _small(settings)
            ours = Ours(changes, settings.device)
            steps = _steps(settings, batch)
            # Each after a step of warm-up: while the other side computes, the system takes memory back.
            against = partial(call, pool, plain_rate, json.dumps(changes), str(settings.device), steps, 1)
            rates = in_turn_cold(partial(ours.resident, steps, 1), against, settings.repeats)
            name = f"training step, batch {batch}: ours / plain eager loop"
            note = "one resident batch; against: the same model in fp32, NCHW, PyTorch's defaults"
            rows.append(Row(name, *rates, "images/s", 2.4, note=note))
    return rows


def floor(settings: Settings) -> list[Row]:
    """Images/s of our step against what the machine's rate of products and its memory allow for the same operations."""
    batch = 8 if settings.smoke else max(BATCHES[settings.device.type])
    ours = Ours({"train.batch_size": batch} | _small(settings), settings.device)
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        ours.resident(1)
    operations, moved = flops.get_total_flops(), traffic.bytes

    sizes = (64, 4096) if settings.smoke else (MATMUL_SIDE, COPY_BYTES)

    def least() -> float:
        rate, bandwidth = matmul_rate(settings.device, sizes[0]), copy_bandwidth(settings.device, sizes[1])
        return batch / floor_seconds(operations, moved, rate, bandwidth)

    rates = in_turn(partial(ours.resident, _steps(settings, batch)), least, settings.repeats)
    precision = resolve_precision("auto", settings.device)
    note = (
        f"batch {batch}, {operations / batch / 1e9:.2f} G operations and {moved / batch / 1e6:.1f} MB an image; "
        f"against: the rate of a {precision} product of 4096 x 4096 matrices, and of a copy of 1 GiB"
    )
    return [Row("training step: ours / floor", *rates, "images/s", FLOOR_GOAL[settings.device.type], note=note)]


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that norms, activations, additions and the optimiser read and write, each tensor once."""

    PRODUCTS = frozenset({"convolution", "convolution_backward", "mm", "addmm"})
    OURS = frozenset({"_to_copy", "copy_", "_foreach_norm"})  # casts and checks, which the network does not ask for

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not func.is_view and name not in self.PRODUCTS | self.OURS and not name.startswith("empty"):
            tensors = (leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor))
            self.bytes += sum({(t.data_ptr(), t.nbytes): t.nbytes for t in tensors}.values())
        return out


def augmented(settings: Settings) -> list[Row]:
    """Images/s of training with the augmentation of params.yaml against one batch that is there already."""
    batch = 8 if settings.smoke else 128 if settings.device.type == "cpu" else 512
    changes = {"train.batch_size": batch} | _small(settings)
    ours = Ours(changes, settings.device, images=_images(settings, 10_000))
    steps = _steps(settings, batch)
    rates = in_turn(partial(ours.augmented, steps), partial(ours.resident, steps), 3 * settings.repeats)
    name = "training with augmentation / with one resident batch"
    return [Row(name, *rates, "images/s", AUGMENTED_GOAL[settings.device.type], note=f"batch {batch}, {steps} steps")]


def norms(settings: Settings) -> list[Row]:
    """Images/s of training with layer norm against batch norm."""
    batch = 8 if settings.smoke else 256 if settings.device.type == "cpu" else 512
    layer, batch_norm = (
        Ours({"norm": norm, "train.batch_size": batch} | _small(settings), settings.device)
        for norm in ("layer", "batch")
    )
    steps = _steps(settings, batch)
    rates = in_turn(partial(layer.resident, steps), partial(batch_norm.resident, steps), 2 * settings.repeats + 1)
    note = f"batch {batch}, {steps} steps"
    return [
        Row("training step: layer norm / batch norm", *rates, "images/s", NORMS_GOAL[settings.device.type], note=note)
    ]


def growth(settings: Settings) -> list[Row]:
    """Images/s of training with augmentation as the data set grows, at three widths."""
    sizes = (100, 200) if settings.smoke else (1_000, 10_000, 50_000)
    rows = []
    for width in (4,) if settings.smoke else (16, 32, 64):
        changes = {"model.width": width, "train.batch_size": 8 if settings.smoke else 128}
        first, *larger = (Ours(changes, settings.device, images=images) for images in sizes)
        steps = min(16, _steps(settings, 128 * width**2 // 64**2))  # the time of a step grows with the square
        for images, ours in zip(sizes[1:], larger, strict=True):
            rates = in_turn(partial(ours.augmented, steps), partial(first.augmented, steps), settings.repeats)
            name = f"training, width {width}: {images:,} / {sizes[0]:,} images"
            rows.append(Row(name, *rates, "images/s", 0.95, note=f"batch 128, {steps} steps with augmentation"))
    return rows


def memory(settings: Settings) -> list[Row]:
    """Peak memory of a process that trains by params.yaml, without and with a transform that needs the two workers."""
    rotated = {"augment": [{"name": "Rotate", "limit": 5}]}
    rows = []
    for name, changes in (("params.yaml", {}), ("params.yaml with a rotation", rotated)):
        given = json.dumps({"train.workers": 2} | changes | _small(settings))
        size = in_process("training", given, settings.device, _images(settings, 45_000))
        note = "resident memory, with what its workers hold alone, in GB; against: the limit"
        rows.append(Row(f"peak memory, {name} / limit", size / 1e9, MEMORY_LIMIT / 1e9, "GB", 1.0, True, note))
    return rows


def peak_memory(changes: dict[str, Any], device: torch.device, images: int) -> float:
    """Bytes: the peak of this process, and what each worker holds alone.

    The process has the libraries of the stage `train` and a loader of `images`; it trains an epoch of fewer images,
    with its checkpoint.
    """
    keep_memory()
    import_module("stages.train")
    loader = Ours(changes, device, images).loader
    batches = iter(loader)
    next(batches)
    workers = sum(child.memory_full_info().uss for child in psutil.Process().children())
    train_rates(changes, LR, min(images, 1024), device, epochs=1)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + workers


def _images(settings: Settings, images: int) -> int:
    return 64 if settings.smoke else images


def _steps(settings: Settings, batch: int) -> int:
    """As many steps as give a measurement of one or two seconds: on the CPU 256 images, on a GPU 50,000."""
    return 1 if settings.smoke else max(1, (256 if settings.device.type == "cpu" else 50_000) // batch)


def _small(settings: Settings) -> dict[str, Any]:
    return {"model.width": 4} if settings.smoke else {}


if __name__ == "__main__":
    print(peak_memory(json.loads(sys.argv[1]), torch.device(sys.argv[2]), int(sys.argv[3])))
