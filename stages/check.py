"""Reject wrong parameters before any stage touches its outputs.

DVC deletes a stage's outputs before it runs the stage, so everything that can be known beforehand is checked here.
"""

import os
from collections.abc import Callable
from functools import partial

import torch

from src import artifacts, git
from src.data.augment import check_transforms
from src.data.sources import check_source
from src.errors import UserError
from src.launch import this_node
from src.model.device import count_devices, resolve_device
from src.model.layers import check_map
from src.model.resnet import build, check_shape
from src.params import Params, uncommitted, wrong_value
from src.tracking_uri import tracking_uri
from src.yaml_files import shown
from stages import run_stage

NARROWEST = 4  # channels: the least that model.width may be
MOST_LISTED = 8  # values that differ from the last commit


def main(params: Params) -> None:
    """Check what the schema cannot: the MLflow store, the devices, the transforms, shape and layers of the model."""
    list_uncommitted()
    tracking_uri()
    check_transforms(params.augment, params.data.size)
    # The narrowest model: its layers have the names of any other's, and their outputs as many dimensions.
    model = build(params.norm, NARROWEST, params.model.strides, classes=2).eval()
    images = torch.zeros(2, 3, params.data.size, params.data.size)
    checks: list[tuple[str, Callable[[], object]]] = [
        ("data.path", lambda: check_source(params.data)),
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


def list_uncommitted() -> None:
    """Print how params.yaml differs from the last commit, also by values that an earlier or a killed `-S` left."""
    changed = [f"{key}={shown(value)} (committed: {shown(was)})" for key, (value, was) in uncommitted().items()]
    if changed:
        more = f" and {len(changed) - MOST_LISTED} more" if len(changed) > MOST_LISTED else ""
        print(f"{artifacts.PARAMS} differs from the last commit: {', '.join(changed[:MOST_LISTED])}{more}")
        if not artifacts.in_temporary_copy():
            print(f"  Undo it with: {git.undo(artifacts.PARAMS)}")


def show_to_git() -> None:
    """Give params.yaml a new modification time, so that git sees that it has changed.

    `dvc exp run -S` writes it in the second in which git last read it. If the size is the same too (batch, layer), git
    takes the file for unchanged, and a command that undoes the change does nothing.
    """
    if artifacts.PARAMS.exists():
        os.utime(artifacts.PARAMS)


if __name__ == "__main__":
    show_to_git()
    run_stage(main)
