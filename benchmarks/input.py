"""The input pipeline on its own: batches of augmented uint8 images, no training."""

import itertools
import os
import warnings
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import Row, Settings, in_turn, now, params_with, random_data
from benchmarks.session import our_loader
from src.data.loader import set_epoch
from src.data.prepared import Split
from src.params import Params, fill_size

IMAGES = 45_000  # ours: an epoch of CIFAR-10
AGAINST_IMAGES = 10_240
SMOKE_IMAGES = 64
SIZE = 32


def pipeline(settings: Settings) -> list[Row]:
    """Images/s of the training loader against the usual one, with the transforms and workers of params.yaml."""
    params = params_with({"train.batch_size": 32} if settings.smoke else {})
    ours, theirs = (SMOKE_IMAGES,) * 2 if settings.smoke else (IMAGES, AGAINST_IMAGES)
    rates = in_turn(_ours(params, ours, settings.device), _against(params, theirs), settings.repeats)
    name = "input pipeline: ours / an image at a time"
    note = (
        f"batches of {params.train.batch_size} with the augmentation of params.yaml; against: an Albumentations "
        f"Compose for each item of a Dataset, in a DataLoader with {params.train.workers} workers"
    )
    return [Row(name, *rates, "images/s", 9.0, note=note)]


def _ours(params: Params, images: int, device: torch.device) -> Any:
    loader = our_loader(random_data(images), params, device)
    epochs = itertools.count(1)

    def rate() -> float:
        set_epoch(loader, next(epochs))
        return _rate(loader, images, device)

    return rate


def _against(params: Params, images: int) -> Any:
    loader = DataLoader(
        OneByOne(random_data(images).train, params),
        batch_size=params.train.batch_size,
        shuffle=True,
        num_workers=params.train.workers,
        persistent_workers=params.train.workers > 0,
    )
    return lambda: _rate(loader, images, torch.device("cpu"))


def _rate(loader: Any, images: int, device: torch.device) -> float:
    start = now(device)
    seen = sum(len(labels) for _, labels in loader)
    seconds = now(device) - start
    assert seen == images
    return seen / seconds


class OneByOne(Dataset[Any]):
    """Images that go one by one through an Albumentations Compose."""

    def __init__(self, split: Split, params: Params) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations

        self.split = split
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a wrong argument is a warning in Albumentations
            self.transform = albumentations.Compose(
                [
                    getattr(albumentations, entry["name"])(**{k: v for k, v in entry.items() if k != "name"})
                    for entry in fill_size(params.augment, SIZE)
                ]
            )

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """uint8 (S, S, 3) and the label"""
        pixels = self.transform(image=self.split.images[index])["image"]
        return torch.from_numpy(pixels), int(self.split.labels[index])
