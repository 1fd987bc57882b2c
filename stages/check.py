"""Refuse wrong parameters before any stage touches its outputs.

DVC deletes a stage's outputs before it runs the stage, so everything that can be known beforehand is checked here.
"""

import os
from collections.abc import Callable
from functools import partial

import torch

from src import artifacts
from src.data.augment import check_transforms
from src.data.sources.folder import check_path
from src.errors import UserError
from src.launch import this_node
from src.model.device import count_devices, resolve_device
from src.model.layers import check_map
from src.model.resnet import build, check_shape
from src.params import Params, wrong_value
from src.tracking_uri import tracking_uri
from stages import run_stage

NARROWEST = 4  # channels: the least that model.width may be


def main(params: Params) -> None:
    """Check what the schema cannot: the MLflow store, the devices, the transforms, shape and layers of the model."""
    tracking_uri()
    check_transforms(params.augment, params.data.size)
    # The narrowest model: its layers have the names of any other's, and their outputs as many dimensions.
    model = build(params.norm, NARROWEST, params.model.strides, classes=2).eval()
    images = torch.zeros(2, 3, params.data.size, params.data.size)
    checks: list[tuple[str, Callable[[], object]]] = [
        ("data.path", lambda: check_path(params.data)),
        ("device", lambda: resolve_device(params.device)),
        ("train.devices", lambda: count(params)),
        ("train.nodes", lambda: this_node(params.train.nodes)),
        ("train.batch_size", lambda: images_a_device(params)),
        (
            "model.strides",
            lambda: check_shape(
                params.norm, params.model.width, params.data.size, params.model.strides, images_a_norm(params)
            ),
        ),
        *(("gradcam.layers", partial(check_map, model, name, images)) for name in params.gradcam.layers),
    ]
    for key, check in checks:
        try:
            with torch.inference_mode():
                check()
        except UserError as error:
            raise wrong_value(key, f"cannot be used: {error}") from None
    artifacts.write_text(artifacts.CHECKED, "params.yaml is valid\n")


def count(params: Params) -> int:
    """The devices that train together, on all nodes; UserError where they lack."""
    return count_devices(params.train.devices, resolve_device(params.device)) * params.train.nodes


def images_a_device(params: Params) -> int:
    """The fewest images of a whole batch that a device gets; UserError where that is none."""
    images = params.train.batch_size // count(params)
    if images == 0:
        raise UserError(f"{count(params)} devices share each batch: at least as many images are needed")
    return images


def images_a_norm(params: Params) -> int:
    """The images over which a batch norm takes its statistics."""
    return params.train.batch_size if params.train.sync_batch_norm else images_a_device(params)


def show_to_git() -> None:
    """Give params.yaml a new time, else `git restore params.yaml` may do nothing.

    `dvc exp run -S` writes it in the second in which git last saw it; where the size is the same too (batch, layer),
    git takes it for unchanged.
    """
    if artifacts.PARAMS.exists():
        os.utime(artifacts.PARAMS)


if __name__ == "__main__":
    show_to_git()
    run_stage(main)
