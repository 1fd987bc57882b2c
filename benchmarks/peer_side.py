"""One epoch of a peer's own code, in a process of its own; the code is a checkout beside this repository.

    python -m benchmarks.peer_side SIDE CHECKOUT IMAGES DEVICE BATCH

prints the images/s of a second epoch over IMAGES of noise in batches of BATCH. What a peer downloads is replaced by
that noise, and nothing else of it is changed but what its adapter below says.
"""

import ast
import importlib
import importlib.util
import io
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image

from benchmarks import session
from benchmarks.measure import params_with, random_data, seconds_of
from benchmarks.seed_loop import WORKERS, recipe, seed_schedule, seed_transform
from commands import run_command
from src.data.loader import set_epoch
from src.errors import UserError
from src.model.device import prefers_channels_last
from src.model.inputs import to_input

Epoch = Callable[[], object]  # one pass over the data
AIRBENCH_AUGMENT = [
    {"name": "Pad", "padding": 2, "border_mode": 4},
    {"name": "RandomCrop", "height": "size", "width": "size"},
    {"name": "HorizontalFlip", "p": 0.5},
]


class Noise(torchvision.datasets.CIFAR10):  # type: ignore[misc]
    """torchvision's CIFAR10 with other pixels: items are made as it makes them."""

    count = 0

    def __init__(self, root: str, train: bool = True, transform: Any = None, **_: Any) -> None:
        data = random_data(self.count if train else 0)
        self.root, self.train, self.transform, self.target_transform = root, train, transform, None
        self.data, self.targets, self.classes = data.train.images, data.train.labels.tolist(), data.classes


def kuangliu(images: int, device: torch.device, batch: int) -> Epoch:
    """`train(epoch)` of kuangliu/pytorch-cifar's main.py: the file as it is, but for its last loop over the epochs.

    It trains SimpleDLA as committed; here the ResNet18 of its own, which it has as an alternative.
    """
    Noise.count = images
    torchvision.datasets.CIFAR10 = Noise
    os.popen = lambda *_: io.StringIO("24 80")  # type: ignore[assignment]  # its bar asks `stty size`, there is no terminal
    models: Any = importlib.import_module("models")
    models.SimpleDLA = models.ResNet18
    program = ast.parse(Path("main.py").read_text(encoding="utf-8"))
    if not isinstance(program.body.pop(), ast.For):
        raise UserError("main.py does not end in a loop over the epochs: this is another version of pytorch-cifar")
    sys.argv = ["main.py"]
    main: dict[str, Any] = {"__name__": "main"}
    exec(compile(program, "main.py", "exec"), main)
    if main["trainloader"].batch_size != batch:
        raise UserError(f"pytorch-cifar's batches are of {main['trainloader'].batch_size}, not of {batch}")
    return partial(main["train"], 0)


def seed(images: int, device: torch.device, batch: int) -> Epoch:
    """`train` of niharikavadapalli/ERA-V1, ERA-V1-Session-11 (seed 002): its loop, model and Dataset.

    The transforms are the recipe's in today's names, because its own names of arguments are gone from Albumentations.
    """
    model = importlib.import_module("models.resnet").ResNet18().to(device)
    dataset = importlib.import_module("utils.dataset").MyDataset(Items(images), transforms=seed_transform())
    loader: Any = torch.utils.data.DataLoader(
        dataset, batch_size=batch, shuffle=True, num_workers=WORKERS, pin_memory=device.type == "cuda"
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    schedule = seed_schedule(optimizer, len(loader))
    criterion = torch.nn.CrossEntropyLoss()
    loop: Any = importlib.import_module("main").main(
        model, 20, batch, schedule, optimizer, criterion, device, loader, None, None
    )
    epoch: Epoch = loop.train
    return epoch


class Items(Sequence[tuple[Image.Image, int]]):
    """PIL images and labels, as torchvision's CIFAR10 without a transform gives them."""

    def __init__(self, count: int) -> None:
        split = random_data(count).train
        self.images, self.labels = split.images, split.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        return Image.fromarray(self.images[index]), self.labels[index]


def airbench(images: int, device: torch.device, batch: int) -> Epoch:
    """CifarLoader of KellerJordan/cifar10-airbench (airbench/utils.py): pad 2, crop, flip, normalised fp16 images.

    It loads onto `cuda`; elsewhere torch.load is told another place.
    """
    spec = importlib.util.spec_from_file_location("airbench_utils", Path("airbench/utils.py"))
    if spec is None or spec.loader is None:
        raise UserError("there is no airbench/utils.py")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = random_data(images)
    load = torch.load
    with tempfile.TemporaryDirectory() as folder:
        content = {
            "images": torch.from_numpy(data.train.images),
            "labels": torch.from_numpy(data.train.labels),
            "classes": data.classes,
        }
        torch.save(content, Path(folder) / "train.pt")
        torch.load = lambda path, **_: load(path, map_location=device)
        loader = module.CifarLoader(folder, train=True, batch_size=batch, aug={"flip": True, "translate": 2})
        torch.load = load
    return partial(exhaust, loader)


def our_loader(images: int, device: torch.device, batch: int) -> Epoch:
    """This project's loader with airbench's augmentation, up to the normalised fp32 input of the model."""
    params = params_with(recipe() | {"augment": AIRBENCH_AUGMENT, "train.batch_size": batch})
    data = random_data(images)
    loader = session.our_loader(data, params, device)
    channels_last = prefers_channels_last(params.norm, device)
    epochs = itertools.count(1)

    def once() -> None:
        set_epoch(loader, next(epochs))
        for pixels, labels in loader:
            to_input(pixels, data.mean, data.std, device, channels_last)
            labels.to(device)

    return once


def exhaust(loader: Any) -> None:
    """Take every batch."""
    for _ in loader:
        pass


SIDES = {"kuangliu": kuangliu, "seed": seed, "airbench": airbench, "our_loader": our_loader}


def main() -> None:
    """Print the images/s of the second epoch."""
    side, checkout, images, device, batch = sys.argv[1:]
    where = torch.device(device)
    if checkout != "-":
        sys.path.insert(0, checkout)
        os.chdir(checkout)
    with redirect_stdout(sys.stderr):
        epoch = SIDES[side](int(images), where, int(batch))
        epoch()
        seconds = seconds_of(epoch, where)
    print(int(images) / seconds)


if __name__ == "__main__":
    run_command(main)
