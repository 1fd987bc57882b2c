"""Print what will run, and reject wrong parameters before DVC deletes the outputs of any stage.

DVC deletes the outputs of a stage before it runs the stage, so this stage checks everything that is known beforehand.
"""

import os
from collections.abc import Callable
from functools import partial

import torch

from src import artifacts, git
from src.data.augment import check_transforms
from src.data.sources import check_source
from src.data.sources.folder import source_name
from src.errors import UserError
from src.launch import this_node
from src.model.device import count_devices, resolve_device
from src.model.layers import check_map
from src.model.resnet import build, check_shape
from src.params import Params, uncommitted, wrong_value
from src.tracking_uri import tracking_uri
from src.wording import norm_name
from src.yaml_files import shown
from stages import run_stage

NARROWEST = 4  # channels: the smallest model.width
MOST_LISTED = 8  # values that differ from the last commit
# While these are as committed, training takes as long as with the committed params.yaml.
SLOW = ("data.source", "data.size", "data.share", "model.width", "model.strides", "train.epochs")


def main(params: Params) -> None:
    """Print what will run. Then check what the schema cannot: data, devices, transforms, model and MLflow store."""
    print_experiment(params)
    list_uncommitted()
    tracking_uri()
    check_transforms(params.augment, params.data.size)
    # The narrowest model suffices: every width has the same layer names and numbers of dimensions.
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
    """The number of devices on all nodes. Raises UserError if this node has fewer than required."""
    return count_devices(params.train.devices, resolve_device(params.device)) * params.train.nodes


def images_a_device(params: Params) -> int:
    """The smallest number of images of a full batch per device. Raises UserError if it is 0."""
    images = params.train.batch_size // count(params)
    if images == 0:
        raise UserError(f"{count(params)} devices share each batch, and each needs at least one image")
    return images


def images_a_norm(params: Params) -> int:
    """The number of images over which a batch norm computes its statistics."""
    return params.train.batch_size if params.train.sync_batch_norm else images_a_device(params)


def print_experiment(params: Params) -> None:
    """Print data, network, epochs and device, and whether this training takes hours."""
    data = params.data
    device = resolve_device("auto") if params.device == "auto" else torch.device(params.device)
    names = {"cifar10": "CIFAR-10", "shapes": "generated shapes", "folder": f"images in {shown(source_name(data))}"}
    print("This experiment:")
    print(f"  data     {names[data.source]}, {data.size} x {data.size} pixels")
    print(f"  network  ResNet-18 of width {params.model.width} with {norm_name(params.norm)}")
    print(f"  epochs   {params.train.epochs}")
    print(f"  device   {device}")
    if device.type == "cpu" and data.source == "cifar10" and uncommitted().keys().isdisjoint(SLOW):
        print(
            "With the committed params.yaml, training on a CPU takes hours. For a shorter run use: "
            "python -m recipes laptop, python -m recipes quick or dvc exp run -S train.epochs=2"
        )


def list_uncommitted() -> None:
    """Print how params.yaml differs from the last commit, including values left by an earlier or killed `-S`."""
    changed = [f"{key} {shown(was)} -> {shown(value)}" for key, (value, was) in uncommitted().items()]
    if changed:
        more = f" and {len(changed) - MOST_LISTED} more" if len(changed) > MOST_LISTED else ""
        print(f"Changed from the committed {artifacts.PARAMS}: {', '.join(changed[:MOST_LISTED])}{more}")
        if not artifacts.in_temporary_copy():
            print(f"  Undo it with: {git.undo(artifacts.PARAMS)}")


def show_to_git() -> None:
    """Give params.yaml a new modification time, so that git notices its change.

    `dvc exp run -S` writes the file in the same second in which git last read it. If its size is the same too (batch,
    layer), git considers the file unchanged, and the command that undoes the change has no effect.
    """
    if artifacts.PARAMS.exists():
        os.utime(artifacts.PARAMS)


if __name__ == "__main__":
    show_to_git()
    run_stage(main)
