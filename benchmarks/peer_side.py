"""The images/s of an epoch of another project's own code, in a process of its own.

    python -m benchmarks.peer_side SIDE IMAGES DEVICE BATCH

runs an unmeasured epoch over IMAGES of noise in batches of BATCH, then more for a second or longer. The noise replaces
what the project downloads. Nothing else of it is changed except what its adapter below says.
"""

import ast
import importlib
import io
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image

from benchmarks import speed
from benchmarks.harness import now, params_with, random_data
from benchmarks.seed_loop import WORKERS, recipe, seed_schedule, seed_transform
from src.data.loader import set_epoch
from src.errors import UserError
from src.model.device import prefers_channels_last
from src.model.inputs import to_input
from src.runtime.run import run_command

Epoch = Callable[[], object]  # one pass over the data

CLONES = Path(".benchmarks/peers")
FOLDERS = {
    "kuangliu": CLONES / "pytorch-cifar",
    "airbench": CLONES / "cifar10-airbench",
    "seed": CLONES / "ERA-V1/ERA-V1-Session-11",
}
AIRBENCH_AUGMENT = [
    {"name": "Pad", "padding": 2, "border_mode": 4},
    {"name": "RandomCrop", "height": "size", "width": "size"},
    {"name": "HorizontalFlip", "p": 0.5},
]


class Noise(torch.utils.data.Dataset[Any]):
    """Items as torchvision's CIFAR10 makes them: an array becomes a PIL image, which is transformed."""

    def __init__(self, images: int, transform: Callable[[Any], Any] = lambda image: image, **_: Any) -> None:
        data = random_data(images).train
        self.images, self.labels, self.transform = data.images, data.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def kuangliu(images: int, device: torch.device, batch: int) -> Epoch:
    """`train(epoch)` of kuangliu/pytorch-cifar's main.py: the file as it is, without its last loop over the epochs.

    It trains SimpleDLA as committed; here its own ResNet18, which it has as an alternative.
    """
    torchvision.datasets.CIFAR10 = partial(Noise, images)
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
    dataset = importlib.import_module("utils.dataset").MyDataset(Noise(images), transforms=seed_transform())
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


def airbench(images: int, device: torch.device, batch: int) -> Epoch:
    """CifarLoader of KellerJordan/cifar10-airbench (airbench/utils.py): pad 2, crop, flip, normalised fp16 images.

    It reads a file onto `cuda`; here torch.load gives it the noise on `device`.
    """
    module: Any = importlib.import_module("airbench.utils")
    data = random_data(images).train
    content = {"images": torch.from_numpy(data.images).to(device), "labels": torch.from_numpy(data.labels).to(device)}
    torch.load = lambda *_, **__: content | {"classes": None}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.pt").touch()
        loader = module.CifarLoader(folder, train=True, batch_size=batch, aug={"flip": True, "translate": 2})
    return lambda: [None for _ in loader]


def our_loader(images: int, device: torch.device, batch: int) -> Epoch:
    """This project's loader with airbench's augmentation, up to the normalised fp32 input of the model."""
    params = params_with(recipe() | {"augment": AIRBENCH_AUGMENT, "train.batch_size": batch})
    data = random_data(images)
    loader = speed.our_loader(data, params, device)
    channels_last = prefers_channels_last(params.norm, device)
    epochs = itertools.count(1)

    def once() -> None:
        set_epoch(loader, next(epochs))
        for pixels, labels in loader:
            to_input(pixels, data.mean, data.std, device, channels_last)
            labels.to(device)

    return once


SIDES = {"kuangliu": kuangliu, "seed": seed, "airbench": airbench, "our_loader": our_loader}


def main() -> None:
    """Print the images/s."""
    side, images, name, batch = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    device = torch.device(name)
    if side in FOLDERS:
        sys.path.insert(0, str(FOLDERS[side].resolve()))
        os.chdir(FOLDERS[side])
    with redirect_stdout(sys.stderr):
        epoch = SIDES[side](images, device, batch)
        epoch()
        start, epochs = now(device), 0
        while not epochs or now(device) - start < 1:  # an epoch of a loader takes milliseconds
            epoch()
            epochs += 1
        seconds = now(device) - start
    print(epochs * images / seconds)


if __name__ == "__main__":
    run_command(main)
