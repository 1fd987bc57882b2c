"""The initial model of training and the range test."""

from src.model.resnet import ResNet18, build
from src.params import Params


def new_model(params: Params, classes: int) -> ResNet18:
    """Build the untrained model of `params`."""
    settings = params.model
    return build(
        params.norm,
        settings.width,
        settings.strides,
        classes,
        zero_init=settings.zero_init,
        weight_standardization=settings.weight_standardization,
    )
