"""Print what will run, and reject wrong parameters before DVC deletes the outputs of any stage.

DVC deletes the outputs of a stage before it runs the stage, so this stage checks everything that is known beforehand.
"""

from collections.abc import Callable
from functools import partial

import torch

from src import artifacts, git
from src.announce import announce
from src.config.changes import list_uncommitted
from src.data.augment import check_transforms
from src.data.sources import check_source
from src.distributed.shares import count, images_per_device, images_per_norm
from src.errors import UserError
from src.launch import this_node
from src.model.device import resolve_device
from src.model.layers import check_map
from src.model.resnet import build, check_shape
from src.params import Params, wrong_value
from src.runtime.run import run_stage
from src.tracking_uri import tracking_uri

NARROWEST = 4  # channels: the smallest model.width


def main(params: Params) -> None:
    """Print what will run. Then check what the schema cannot: data, devices, transforms, model and MLflow store."""
    print(announce(params))
    for line in list_uncommitted():
        print(line)
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
        ("train.batch_size", lambda: images_per_device(params)),
        (
            "model.strides",
            lambda: check_shape(
                params.norm, params.model.width, params.data.size, params.model.strides, images_per_norm(params)
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


if __name__ == "__main__":
    git.show_change(artifacts.PARAMS)
    run_stage(main)
