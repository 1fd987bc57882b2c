"""Refuse wrong parameters before any stage touches its outputs.

DVC deletes a stage's outputs before it runs the stage, so everything that can be known beforehand is checked here.
"""

from src import artifacts
from src.errors import UserError
from src.params import Params, wrong_value
from stages import run_stage


def main(params: Params) -> None:
    """Check what the schema cannot: the device, the transforms, and the layers of the model."""
    import torch

    from src.data.augment import check_transforms
    from src.model.device import resolve_device
    from src.model.layers import find_layer
    from src.model.resnet import build

    for key, check in {
        "device": lambda: resolve_device(params.device),
        "augment": lambda: check_transforms(params.augment, params.data.size),
    }.items():
        try:
            check()
        except UserError as error:
            raise wrong_value(key, f"cannot be used: {error}") from None

    with torch.device("meta"):  # shapes only: no memory, no arithmetic
        model = build(params.norm, params.model.width, params.model.strides, classes=2)
        try:
            model(torch.empty(2, 3, params.data.size, params.data.size))
        except (RuntimeError, ValueError) as error:
            raise wrong_value("model.strides", f"does not fit norm {params.norm} at data.size: {error}") from None
    for name in params.gradcam.layers:
        try:
            find_layer(model, name)
        except UserError as error:
            raise wrong_value("gradcam.layers", f"names {name!r}: {error}") from None

    artifacts.write_text(artifacts.CHECKED, "params.yaml is valid\n")


if __name__ == "__main__":
    run_stage(main)
