"""An epoch of a seed recipe: this project's training against the loop that the seed projects share.

    python -m benchmarks.seed_loop IMAGES DEVICE [--smoke]

trains two epochs as they do and prints the images/s of the second one; the measure starts both sides in turn, each in a
process of its own. The seeds' loop in words: a Dataset that turns one PIL image at a time into an array and sends it
through an Albumentations Compose which ends in Normalize and ToTensorV2; two workers; fp32 in the plain memory layout;
loss and hits read from the device at every step and written into the progress bar.
"""

import argparse
import os
import warnings
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from benchmarks.harness import PLAIN, Row, Settings, in_process, in_turn_cold, now, params_with, random_data
from benchmarks.speed import EPOCHS, ours
from src.artifacts import PARAMS
from src.config.recipes import read_recipe
from src.data.prepared import Split
from src.runtime.run import run_command
from src.training.untrained import new_model
from src.yaml_files import read_yaml

GOAL = {"cpu": 2.5, "cuda": 8.0}
IMAGES = {"cpu": 768, "cuda": 45_000}  # of CIFAR-10's 45,000 for training, as many as the time allows
SMOKE_IMAGES = 64
WORKERS = 2


def epoch(settings: Settings) -> list[Row]:
    """Images/s of an epoch in training, without validation, which both would do alike."""
    device = settings.device
    images = SMOKE_IMAGES if settings.smoke else IMAGES[device.type]
    changes = recipe(settings.smoke)
    rates = in_turn_cold(
        lambda: ours(changes, changes["lr"], images, device),
        lambda: in_process("seed_loop", images, device, *["--smoke"] * settings.smoke, environment=PLAIN),
        settings.repeats,
    )
    note = (
        f"seed 002's recipe, {images:,} images in batches of {changes['train.batch_size']}, the second epoch; "
        f"against: one image at a time through Albumentations, {WORKERS} workers, fp32, `.item()` at each step"
    )
    name = "seed recipe, an epoch: ours / the seeds' style of loop"
    return [Row(name, *rates, "images/s", GOAL[device.type], note=note)]


def recipe(smoke: bool = False) -> dict[str, Any]:
    """The changes that turn params.yaml into the recipe seed-002, tiny for `smoke`."""
    changes = read_recipe("seed-002", read_yaml(PARAMS))
    return changes | ({"model.width": 4, "train.batch_size": 32} if smoke else {})


class OneByOne(Dataset[Any]):
    """Images that are augmented one by one."""

    def __init__(self, split: Split, transform: Any) -> None:
        self.images = [Image.fromarray(image) for image in split.images]
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """float32 (3, S, S) and the label"""
        return self.transform(image=np.array(self.images[index]))["image"], self.labels[index]


def seed_transform() -> Any:
    """Seed 002's augmentation as an Albumentations Compose, in today's names."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a wrong argument is a warning in Albumentations
        return A.Compose(
            [
                A.PadIfNeeded(40, 40, border_mode=4),
                A.RandomCrop(32, 32),
                A.HorizontalFlip(p=0.2),
                A.CoarseDropout((1, 1), (8, 8), (8, 8), fill=0, p=0.5),
                A.Normalize((0.5, 0.5, 0.5), (0.3, 0.3, 0.3)),
                ToTensorV2(),
            ]
        )


def seed_schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Seed 002's OneCycle over its 20 epochs of `steps` steps, of which EPOCHS are trained."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.0163,
        epochs=20,
        steps_per_epoch=steps,
        pct_start=0.25,
        anneal_strategy="linear",
        div_factor=100,
        final_div_factor=100,
    )


def theirs(images: int, device: torch.device, smoke: bool) -> float:
    """Images/s of the last epoch of a loop as the seed projects write it, for the same model."""
    params = params_with(recipe(smoke))
    data = random_data(images)
    loader = DataLoader(
        OneByOne(data.train, seed_transform()),
        batch_size=params.train.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        pin_memory=device.type == "cuda",
    )
    model = new_model(params, len(data.classes)).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=params.train.weight_decay)
    schedule = seed_schedule(optimizer, len(loader))
    for _ in range(EPOCHS):
        start = now(device)
        model.train()
        correct = seen = 0
        bar = tqdm(loader)
        for pixels, labels in bar:
            x, y = pixels.to(device), labels.to(device)
            optimizer.zero_grad()
            logits = model(x)
            loss = criterion(logits, y)
            loss.backward()
            optimizer.step()
            schedule.step()
            correct += (logits.argmax(dim=1) == y).sum().item()
            seen += len(y)
            bar.set_description(f"loss={loss.item():.4f} accuracy={100 * correct / seen:.2f}")
        seconds = now(device) - start
    return images / seconds


def main() -> None:
    """Print the images/s of the seeds' style of loop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seed_loop", description=__doc__)
    parser.add_argument("images", type=int)
    parser.add_argument("device", type=torch.device)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    print(theirs(arguments.images, arguments.device, arguments.smoke))


if __name__ == "__main__":
    run_command(main)
