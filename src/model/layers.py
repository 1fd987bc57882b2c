"""Find a layer of a model by the dotted name that the user writes in params.yaml."""

import re

import torch
from torch import nn

from src.errors import UserError

_PART = re.compile(r"(?P<name>\w+)(?P<indices>(\[-?\d+\])*)", re.ASCII)


def find_layer(model: nn.Module, dotted: str) -> nn.Module:
    """Return the module named `layer4`, `layer2[-2]`, `layer1[0].conv1` or `layer1.0.conv1`.

    Raises UserError if the model has no such layer.
    """
    layer = model
    seen = ""
    for part in dotted.split("."):
        match = _PART.fullmatch(part)
        if match is None:
            raise UserError(
                f"{dotted!r} is not the name of a layer. Write it like layer4, layer4[-1] or layer1[0].conv1"
            )
        layer = _child(layer, match["name"], seen, dotted)
        seen = f"{seen}.{match['name']}" if seen else match["name"]
        for index in re.findall(r"-?\d+", match["indices"]):
            layer = _item(layer, int(index), seen, dotted)
            seen = f"{seen}[{index}]"
    return layer


def check_map(model: nn.Module, dotted: str, images: torch.Tensor) -> None:
    """Raise UserError if the layer does not exist, or if it does not turn `images` (N, 3, S, S) into (N, C, H, W)."""
    shapes: list[tuple[int, ...]] = []
    with find_layer(model, dotted).register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape))):
        model(images)
    if not shapes or len(shapes[0]) != 4:
        raise UserError(f"layer {dotted!r} returns no map of the image. Use layer1 to layer4, or a layer inside them")


def _child(layer: nn.Module, name: str, seen: str, dotted: str) -> nn.Module:
    children = dict(layer.named_children())
    if name not in children:
        there = ", ".join(children) or "no layers"
        raise UserError(f"the model has no layer {dotted!r}. {seen or 'It'} has {there}")
    return children[name]


def _item(layer: nn.Module, index: int, seen: str, dotted: str) -> nn.Module:
    if not isinstance(layer, nn.Sequential):
        raise UserError(
            f"the model has no layer {dotted!r}. {seen} is a single {type(layer).__name__}, not a list of layers"
        )
    if not -len(layer) <= index < len(layer):
        there = f"has indices {-len(layer)} to {len(layer) - 1}" if len(layer) else "is empty"
        raise UserError(f"the model has no layer {dotted!r}. {seen} {there}")
    return layer[index]
