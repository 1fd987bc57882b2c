"""The model that training and the range test begin with."""

from src.model.resnet import ResNet18, build
from src.params import Params


def new_model(params: Params, classes: int) -> ResNet18:
    """The untrained model that `params` describes."""
    settings = params.model
    return build(
        params.norm,
        settings.width,
        settings.strides,
        classes,
        zero_init=settings.zero_init,
        weight_standardization=settings.weight_standardization,
    )
