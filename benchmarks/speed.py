"""How fast training, the input pipeline and the maps are, on images of noise."""

import itertools
import json
import math
import os
import resource
import statistics
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, default_collate
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import (
    PLAIN,
    Row,
    Settings,
    in_new_process,
    in_turn,
    in_turn_cold,
    median_seconds,
    params_with,
    random_data,
    seconds_of,
)
from src.data.augmenters import make_augmenter
from src.data.loader import Batch, ShuffledBatches, set_epoch, train_loader
from src.data.prepared import Prepared
from src.errors import UserError
from src.explain.cams import ONE_BY_ONE, compute_cams
from src.launch import launch
from src.model.device import count_devices, exact_fp32, prefers_channels_last, resolve_precision
from src.model.layers import find_layer
from src.model.resnet import build
from src.params import Params, fill_size
from src.processes import cores, keep_memory
from src.training.forward import FromPixels
from src.training.loop import train, train_epoch
from src.training.optimisers import make_optimizer
from src.training.ranks import ALONE, Ranks, joined
from src.training.schedules import make_schedule
from src.training.untrained import new_model

LR = 0.001
EPOCHS = 2  # of which the second is measured: in the first, libraries choose their kernels
MEMORY_LIMIT = 3e9  # bytes, on the CPU, with two workers
TOLERANCE = 1e-5  # largest difference between maps, whose values are in [0, 1]

T = TypeVar("T")


def our_loader(data: Prepared, params: Params, device: torch.device) -> DataLoader[Batch]:
    """The loader that the stage `train` makes."""
    return train_loader(
        data.train,
        make_augmenter(params.augment, data.size, params.seed),
        batch_size=params.train.batch_size,
        seed=params.seed,
        workers=params.train.workers,
        device=device,
    )


class Ours:
    """A model in training, with params.yaml and dotted `changes`."""

    def __init__(self, changes: dict[str, Any], device: torch.device, images: int = 10) -> None:
        self.params = params_with({"train.schedule": "constant"} | changes)
        self.device = device
        data = random_data(images)
        channels_last = prefers_channels_last(self.params.norm, device)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model = new_model(self.params, len(data.classes)).to(device).to(memory_format=layout)
        precision = resolve_precision(self.params.precision, device)
        self.forward = FromPixels(model, data, device, precision, channels_last)
        self.optimizer = make_optimizer(model.parameters(), LR, self.params)
        self.schedule = make_schedule(self.optimizer, LR, 1, self.params)
        self.loader = our_loader(data, self.params, device)
        self.epochs = itertools.count(1)

    def resident(self, steps: int, warm_up: int = 0) -> float:
        """Images/s over `steps` steps, after `warm_up` unmeasured ones, with one batch that is on the device."""
        size = self.params.train.batch_size
        images = torch.randint(0, 256, (size, 32, 32, 3), dtype=torch.uint8, device=self.device)
        batch = images, torch.randint(0, 10, (size,), device=self.device)
        if warm_up:
            self._train([batch] * warm_up)
        return steps * size / seconds_of(lambda: self._train([batch] * steps), self.device)

    def augmented(self, steps: int) -> float:
        """Images/s over at least `steps` steps with augmentation, in new epochs of so many whole batches."""
        batches, size = cast(ShuffledBatches, self.loader.batch_sampler), self.params.train.batch_size
        batches.images = size * min(steps, batches.population // size)
        epochs = math.ceil(steps * size / batches.images)

        def train_epochs() -> None:
            for _ in range(epochs):
                set_epoch(self.loader, next(self.epochs))
                self._train(self.loader)

        return epochs * batches.images / seconds_of(train_epochs, self.device)

    def _train(self, batches: Any) -> None:  # all that it needs is a length and an iterator
        train_epoch(self.forward, batches, self.optimizer, self.schedule, self.params, self.device, 1, None)


def plain_rate(changes: dict[str, Any], device: torch.device, steps: int) -> float:
    """Images/s of the same model in a plain eager loop, after a step: fp32, PyTorch's memory layout, nothing tuned."""
    params = params_with(changes)
    model = new_model(params, 10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), LR, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(params.train.batch_size, 3, 32, 32, device=device)
    labels = torch.randint(0, 10, (len(images),), device=device)

    def train_steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    train_steps(1)
    return steps * len(images) / seconds_of(lambda: train_steps(steps), device)


def step(settings: Settings) -> Iterator[Row]:
    """Images/s of our step against a plain one, for several batch sizes."""
    for batch in (8,) if settings.smoke else _by_device(settings, (64, 512), (256, 512, 1024)):
        changes, steps = {"train.batch_size": batch} | _small(settings), _steps(settings, batch)
        # Each after a step of warm-up, because the system takes memory back while the other side computes.
        rates = in_turn_cold(
            partial(Ours(changes, settings.device).resident, steps, 1),
            partial(in_new_process, plain_rate, changes, settings.device, steps, environment=PLAIN),
            settings.repeats,
        )
        name = f"training step, batch {batch}: ours / plain eager loop"
        note = "one resident batch; against: the same model in fp32, NCHW, PyTorch's defaults"
        yield Row(name, *rates, "images/s", 2.4, note=note)


def floor(settings: Settings) -> Iterator[Row]:
    """Images/s of our step against what the machine's products and copies allow for the same operations."""
    device, batch = settings.device, 8 if settings.smoke else _by_device(settings, 512, 1024)
    training = Ours({"train.batch_size": batch} | _small(settings), device)
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        training.resident(1)
    operations, moved = flops.get_total_flops(), traffic.bytes
    side, size = (64, 4096) if settings.smoke else (4096, 2**30)
    precision = resolve_precision("auto", device)

    def least() -> float:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        source = torch.ones(size, dtype=torch.uint8, device=device)
        product, target = torch.empty_like(a), torch.empty_like(source)
        multiply = median_seconds(lambda: torch.mm(a, b, out=product), device, 5)
        copy = median_seconds(lambda: target.copy_(source), device, 5)
        return batch / floor_seconds(operations, moved, 2 * side**3 / multiply, 2 * size / copy)

    rates = in_turn(partial(training.resident, _steps(settings, batch)), least, settings.repeats)
    note = (
        f"batch {batch}, {operations / batch / 1e9:.2f} G operations and {moved / batch / 1e6:.1f} MB an image; "
        f"against: the rate of a {precision} product of 4096 x 4096 matrices, and of a copy of 1 GiB"
    )
    yield Row("training step: ours / floor", *rates, "images/s", _by_device(settings, 0.65, 0.6), note=note)


def floor_seconds(operations: float, moved: float, rate: float, bandwidth: float) -> float:
    """The least time for `operations` at `rate` (1/s) and `moved` bytes at `bandwidth` (bytes/s).

    A sum, because products are bound by arithmetic, norms and activations by memory, and each waits for the last.
    """
    return operations / rate + moved / bandwidth


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


def augmented(settings: Settings) -> Iterator[Row]:
    """Images/s of training with the augmentation of params.yaml against one batch that is there already."""
    batch, images = (8, 64) if settings.smoke else (_by_device(settings, 128, 512), 10_000)
    training = Ours({"train.batch_size": batch} | _small(settings), settings.device, images)
    steps = _steps(settings, batch)
    rates = in_turn(partial(training.augmented, steps), partial(training.resident, steps), 3 * settings.repeats)
    name, note = "training with augmentation / with one resident batch", f"batch {batch}, {steps} steps"
    yield Row(name, *rates, "images/s", _by_device(settings, 0.97, 0.92), note=note)


def norms(settings: Settings) -> Iterator[Row]:
    """Images/s of training with layer norm against batch norm."""
    batch = 8 if settings.smoke else _by_device(settings, 256, 512)
    changes, steps = {"train.batch_size": batch} | _small(settings), _steps(settings, batch)
    layer, batches = (Ours(changes | {"norm": norm}, settings.device) for norm in ("layer", "batch"))
    rates = in_turn(partial(layer.resident, steps), partial(batches.resident, steps), 2 * settings.repeats + 1)
    name, note = "training step: layer norm / batch norm", f"batch {batch}, {steps} steps"
    yield Row(name, *rates, "images/s", _by_device(settings, 0.95, 0.85), note=note)


def growth(settings: Settings) -> Iterator[Row]:
    """Images/s of training with augmentation as the data set grows, at three widths."""
    first, *larger = (100, 200) if settings.smoke else (1_000, 10_000, 50_000)
    for width, images in itertools.product((4,) if settings.smoke else (16, 32, 64), larger):
        changes = {"model.width": width, "train.batch_size": 8 if settings.smoke else 128}
        steps = min(16, _steps(settings, 128 * width**2 // 64**2))  # the time of a step grows with the square
        many, few = (Ours(changes, settings.device, count) for count in (images, first))
        rates = in_turn(partial(many.augmented, steps), partial(few.augmented, steps), settings.repeats)
        name = f"training, width {width}: {images:,} / {first:,} images"
        note = f"batch 128, {steps} steps with augmentation"
        yield Row(name, *rates, "images/s", 0.95, note=note)


def memory(settings: Settings) -> Iterator[Row]:
    """Peak memory of a process that trains with params.yaml, without and with a transform that needs workers."""
    images = 64 if settings.smoke else 45_000
    note = "resident memory, plus what only its workers hold, in GB; against: the limit"
    for name, augment in {"": {}, " with a rotation": {"augment": [{"name": "Rotate", "limit": 5}]}}.items():
        size = in_new_process(peak_memory, {"train.workers": 2} | augment | _small(settings), settings.device, images)
        gigabytes = size / 1e9, MEMORY_LIMIT / 1e9
        yield Row(f"peak memory, params.yaml{name} / limit", *gigabytes, "GB", 1.0, True, note)


def peak_memory(changes: dict[str, Any], device: torch.device, images: int) -> float:
    """Bytes: the peak of this process, plus what only its workers hold.

    It has the libraries of the stage `train` and a loader of `images`, and trains an epoch of fewer images.
    """
    keep_memory()
    import_module("stages.train")
    batches = iter(Ours(changes, device, images).loader)
    next(batches)
    workers = sum(child.memory_full_info().uss for child in psutil.Process().children())
    train_rates(changes, LR, min(images, 1024), device, epochs=1)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + workers


def train_rates(
    changes: dict[str, Any], rate: float, images: int, device: torch.device, epochs: int, ranks: Ranks = ALONE
) -> list[float]:
    """Images/s of each epoch except the first, of the function that the stage `train` calls, without validation."""
    params = params_with(changes | {"train.epochs": epochs})
    data, precision = random_data(images), resolve_precision(params.precision, device)
    with tempfile.TemporaryDirectory() as folder:
        trained = train(data, params, rate, device, precision, Path(folder), lambda row: None, lambda said: None, ranks)
    return [float(row["images_per_second"] or 0) for row in trained.history[1:]]


def second_epoch(changes: dict[str, Any], rate: float, images: int, device: torch.device, ranks: Ranks) -> float:
    """Images/s of the second of EPOCHS, with the memory settings of a stage."""
    keep_memory()
    return train_rates(changes, rate, images, device, EPOCHS, ranks)[0]


def ours(changes: dict[str, Any], rate: float, images: int, device: torch.device) -> float:
    """`second_epoch` in a new process."""
    return in_new_process(second_epoch, changes, rate, images, device, ALONE)


def together(changes: dict[str, Any], rate: float, images: int, device: torch.device, devices: int) -> float:
    """`second_epoch` on so many devices."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rate"
        arguments = json.dumps(changes), str(rate), str(images), str(device), str(out)
        launch(("-m", "benchmarks.speed", *arguments), devices, 1, device.type)
        return float(out.read_text(encoding="utf-8"))


def train_rank(changes: str, rate: str, images: str, device: str, out: str) -> None:
    """One process of `together`. The first one writes the result into the file `out`."""
    with joined(1, torch.device(device)) as ranks:
        measured = second_epoch(json.loads(changes), float(rate), int(images), torch.device(device), ranks)
        if ranks.first:
            Path(out).write_text(str(measured), encoding="utf-8")


def compiled(norm: str, settings: Settings) -> Iterator[Row]:
    """Images/s of training by batch size, compiled against eager."""
    for batch, images in ((16, 32),) if settings.smoke else ((256, 44_032), (512, 44_032), (1024, 44_032)):
        changes = {"norm": norm, "train.batch_size": batch, "data.size": 32} | _small(settings)
        fast, eager = (
            train_rates(changes | {"train.compile": chosen}, 0.01, images, settings.device, 1 + settings.repeats)
            for chosen in (True, False)
        )
        rates = statistics.median(fast), statistics.median(eager)
        name = f"training, {norm} norm, batch {batch}: compiled / eager"
        note = f"epochs of {images:,} images with augmentation, width {changes.get('model.width', 64)}"
        yield Row(name, *rates, "images/s", None, note=note)


def device_counts(device: torch.device) -> list[int]:
    """2, 4, ... and all devices of this machine. Raises UserError if there is only one."""
    most = cores() if device.type == "cpu" else count_devices("auto", device)
    if most < 2:
        raise UserError(f"several devices are to be compared with one, but this machine has {most} for {device}")
    return sorted({2**power for power in range(1, most.bit_length())} | {most})


def speed_up(name: str, changes: dict[str, Any], settings: Settings) -> Iterator[Row]:
    """Images/s of an epoch on several devices against one."""
    batch, images = (8, 16) if settings.smoke else _by_device(settings, (128, 512), (1024, 40_960))
    given = changes | {"train.batch_size": batch} | _small(settings), 0.01, images, settings.device
    for count in device_counts(settings.device)[: 1 if settings.smoke else None]:
        rates = in_turn_cold(partial(together, *given, count), partial(ours, *given), settings.repeats)
        title = f"training, {name}: {count} {_by_device(settings, 'processes', 'GPUs')} / 1"
        note = f"{images:,} images in batches of {batch}, the second epoch"
        yield Row(title, *rates, "images/s", None, note=note)


def pipeline(settings: Settings) -> Iterator[Row]:
    """Images/s of the training loader against the usual one, with the transforms and workers of params.yaml."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    params = params_with({"train.batch_size": 32} if settings.smoke else {})
    batch, workers = params.train.batch_size, params.train.workers
    data, fewer = (random_data(64 if settings.smoke else images) for images in (45_000, 10_240))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a wrong argument is a warning in Albumentations
        augment = [dict(entry) for entry in fill_size(params.augment, 32)]
        transform = albumentations.Compose([getattr(albumentations, entry.pop("name"))(**entry) for entry in augment])

    def one_by_one(indices: list[int]) -> Any:
        return default_collate(
            [(transform(image=fewer.train.images[i])["image"], fewer.train.labels[i]) for i in indices]
        )

    usual: Any = DataLoader(
        range(len(fewer.train)),  # type: ignore[arg-type]  # all that it needs is a length and items
        batch, shuffle=True, num_workers=workers, collate_fn=one_by_one, persistent_workers=workers > 0,
    )  # fmt: skip
    loader, epochs = our_loader(data, params, settings.device), itertools.count(1)

    def rate(batches: Any, images: int) -> float:
        return images / seconds_of(partial(deque, batches, 0), settings.device)

    def ours() -> float:
        set_epoch(loader, next(epochs))
        return rate(loader, len(data.train))

    rates = in_turn(ours, partial(rate, usual, len(fewer.train)), settings.repeats)
    note = (
        f"batches of {batch} with the augmentation of params.yaml; against: an Albumentations Compose for each item of "
        f"a Dataset, in a DataLoader with {workers} workers"
    )
    yield Row("input pipeline: ours / an image at a time", *rates, "images/s", 9.0, note=note)


def gradcam(settings: Settings) -> Iterator[Row]:
    """Images/s of Grad-CAM against the library's defaults. Raises UserError if the maps differ."""
    count, width = (4, 8) if settings.smoke else (64, 64)
    model, images, batch_size = _for_maps(settings, count, width)
    with torch.no_grad():
        model.train()(images)
        predicted = model.eval()(images).argmax(dim=1).tolist()
    layer = find_layer(model, "layer4[-1]")
    ours = partial(compute_cams, model, layer, images, predicted, method="GradCAM", batch_size=batch_size)
    theirs = partial(one_at_a_time, model, layer, images, predicted)
    difference = float(np.abs(ours() - theirs()).max())
    if not difference <= TOLERANCE:
        raise UserError(f"Grad-CAM: maps differ from the library's by {difference:.1e}, more than {TOLERANCE:.0e}")

    def rate(work: Callable[[], object]) -> float:
        return count / seconds_of(work, settings.device)

    rates = in_turn(partial(rate, ours), partial(rate, theirs), settings.repeats)
    note = f"{count} images 32x32 in batches of {batch_size}, width {width}, layer4[-1], fp32"
    note += f"; maps differ by at most {difference:.1e}"
    if settings.device.type == "cpu":
        note += f"; convolutions take {convolutions(ours):.0%} of ours"
    yield Row("Grad-CAM / one image at a time, library's defaults", *rates, "images/s", 6.0, note=note)


def slow(settings: Settings) -> Iterator[Row]:
    """Seconds per image of the methods that try every channel, against Grad-CAM, at the first and the last stage."""
    many, width = (2, 4) if settings.smoke else (64, 64)
    model, images, batch_size = _for_maps(settings, many, width)

    def seconds(method: str, name: str, count: int) -> float:
        layer, chosen = find_layer(model, name), images[:count]
        work = partial(compute_cams, model, layer, chosen, [0] * count, method=method, batch_size=batch_size)
        return seconds_of(work, settings.device) / count

    for method, name in itertools.product(ONE_BY_ONE, ("layer1", "layer4")):
        times = in_turn(partial(seconds, method, name, 1), partial(seconds, "GradCAM", name, many), settings.repeats)
        note = f"a 32x32 image at {name}, width {width}, batches of {batch_size}, fp32"
        yield Row(f"{method} / Grad-CAM, {name}", *times, "s", None, at_most=True, note=note)


def convolutions(work: Callable[[], object]) -> float:
    """The share of its time on the CPU that `work` spends in convolutions and their gradients."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    return float(sum(time for name, time in times.items() if "convolution" in name) / sum(times.values()))


def one_at_a_time(model: nn.Module, layer: nn.Module, images: torch.Tensor, targets: list[int]) -> np.ndarray:
    """Maps (N, S, S) as the library's documentation makes them: one call per image, back to every parameter.

    In fp32 also on CUDA, where PyTorch by default rounds the inputs of convolutions to TF32.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with exact_fp32(), GradCAM(model=model, target_layers=[layer]) as cam:
        maps = [cam(images[i : i + 1], [ClassifierOutputTarget(target)])[0] for i, target in enumerate(targets)]
    return np.stack(maps)


def _for_maps(settings: Settings, count: int, width: int) -> tuple[nn.Module, torch.Tensor, int]:
    """A ResNet-18 with random weights, normalised images (count, 3, 32, 32) of noise, and `gradcam.batch_size`."""
    torch.manual_seed(0)
    model = build("batch", width, [1, 2, 2, 2], 10).to(settings.device).eval()
    images = torch.randn(count, 3, 32, 32).to(settings.device)
    return model, images, params_with({}).gradcam.batch_size


def _by_device(settings: Settings, on_cpu: T, on_gpu: T) -> T:
    return on_cpu if settings.device.type == "cpu" else on_gpu


def _steps(settings: Settings, batch: int) -> int:
    """As many steps as take one or two seconds: 256 images on the CPU, 50,000 on a GPU."""
    return 1 if settings.smoke else max(1, _by_device(settings, 256, 50_000) // batch)


def _small(settings: Settings) -> dict[str, Any]:
    return {"model.width": 4} if settings.smoke else {}


if __name__ == "__main__":
    train_rank(*sys.argv[1:])
