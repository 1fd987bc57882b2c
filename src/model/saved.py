"""A trained model on disk: weights as safetensors, and a JSON description from which the model can be rebuilt."""

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from src import artifacts
from src.errors import UserError
from src.model.inputs import Rgb
from src.model.resnet import build

AGAIN = "Make it with: dvc repro train"


@dataclass(frozen=True)
class Description:
    """Everything about a model except its weights. `save_model` fills in the last three fields."""

    norm: str
    width: int
    strides: list[int]
    weight_standardization: bool
    classes: list[str]
    size: int  # side of the training images in pixels
    mean: Rgb  # of the training split, per RGB channel, in units of 0..1
    std: Rgb
    model_key: str
    seed: int
    lr: float
    epochs: int  # epochs trained
    epoch: int  # epoch of these weights, from 1
    device: str
    precision: str
    hardware: str
    source: str
    data_digest: str
    parameters: int = 0
    weights_sha256: str = ""
    digest: str = ""  # SHA-256 of all other fields, to detect damage


def save_model(
    model: nn.Module,
    description: Description,
    weights_path: Path = artifacts.WEIGHTS,
    json_path: Path = artifacts.MODEL,
) -> Description:
    """Write both files atomically. Return the description with its last three fields filled in."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = safetensors.torch.save(state)
    description = replace(
        description,
        parameters=sum(p.numel() for p in model.parameters()),
        weights_sha256=hashlib.sha256(content).hexdigest(),
    )
    description = replace(description, digest=_digest(asdict(description)))
    artifacts.write_bytes(weights_path, content)
    artifacts.write_json(json_path, asdict(description))
    return description


def load_model(
    weights_path: Path = artifacts.WEIGHTS, json_path: Path = artifacts.MODEL
) -> tuple[nn.Module, Description]:
    """Load the model (evaluation mode, fp32, on the CPU) and its description.

    Raises UserError if a file is missing or damaged, or if the two files do not belong together.
    """
    description = load_description(json_path)
    try:
        content = weights_path.read_bytes()
    except OSError:
        raise UserError(f"{weights_path} is missing. {AGAIN}") from None
    if hashlib.sha256(content).hexdigest() != description.weights_sha256:
        raise UserError(
            f"{weights_path} is damaged or belongs to another run, because its hash is not that in {json_path}. "
            f"{artifacts.cure(weights_path, 'train')}"
        )
    model = network(description)
    try:
        model.load_state_dict(safetensors.torch.load(content))
    except (RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{weights_path} does not fit the model that {json_path} describes: {error}\n"
            f"{artifacts.cure(weights_path, 'train')}"
        ) from None
    return model.eval(), description


def network(about: Description) -> nn.Module:
    """Build the network that `about` describes, with new weights."""
    return build(
        about.norm,
        about.width,
        about.strides,
        len(about.classes),
        weight_standardization=about.weight_standardization,
    )


def load_description(json_path: Path = artifacts.MODEL) -> Description:
    """Load only the description. Raises UserError if it is missing or damaged."""
    try:
        content = artifacts.read_json(json_path)
    except OSError:
        raise UserError(f"{json_path} is missing. {AGAIN}") from None
    names = {field.name for field in fields(Description)}
    if content.keys() != names or content["digest"] != _digest(content):
        odd = ", ".join(sorted(content.keys() ^ names)) or "its digest"
        raise UserError(f"{json_path} is damaged or from another version ({odd}). {artifacts.cure(json_path, 'train')}")
    red, green, blue = content.pop("mean")
    std_red, std_green, std_blue = content.pop("std")
    return Description(**content, mean=(red, green, blue), std=(std_red, std_green, std_blue))


def _digest(content: dict[str, Any]) -> str:
    return artifacts.sha256_json({key: value for key, value in content.items() if key != "digest"})
