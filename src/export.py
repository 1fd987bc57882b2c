"""Convert a trained model to one ONNX file that takes raw images, and compare its output with PyTorch.

This is the only file that imports onnx and onnxruntime. It imports them inside functions, because they take a second to
load and few callers need them.
"""

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from src.model.saved import Description

if TYPE_CHECKING:
    import onnx

# Set before onnxruntime is imported, which reads it then. From 1.32 on it sends telemetry with an id of the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

OPSET = 20  # ONNX opset; the default of PyTorch's exporter
OPSETS = range(18, 26)  # that the exporter writes and ONNX Runtime reads
TOLERANCE = 1e-4
BATCH = 64  # images per forward pass of the check


class RawImages(nn.Module):
    """Raw images -> class probabilities and logits. The graph normalises as src/model/inputs.py does."""

    offset: torch.Tensor
    scale: torch.Tensor

    def __init__(self, model: nn.Module, about: Description) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("offset", torch.tensor(about.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", torch.tensor(about.std).view(1, 3, 1, 1) * 255)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 (N, S, S, 3) -> float32 (N, C) twice"""
        x = images.permute(0, 3, 1, 2).to(torch.float32)  # (N, S, S, 3) -> (N, 3, S, S)
        logits = self.model((x - self.offset) / self.scale)
        return logits.softmax(dim=1), logits


class Difference(NamedTuple):
    """The largest absolute difference between two outputs, over all images and classes."""

    probabilities: float
    logits: float
    largest_logit: float  # absolute, in PyTorch's output

    @property
    def tolerable(self) -> bool:
        """Whether both differences are at most TOLERANCE. Logits above 1 are compared relative to the largest one.

        float32 has seven digits, so logits of 1,000 cannot agree to 1e-4. A comparison with NaN is false.
        """
        return self.probabilities <= TOLERANCE and self.logits <= TOLERANCE * max(1.0, self.largest_logit)


def to_onnx(model: nn.Module, about: Description, opset: int = OPSET) -> bytes:
    """Return an ONNX file. Input: `images` uint8 (N, S, S, 3). Outputs: `probabilities`, `logits` float32 (N, C).

    `model` is in evaluation mode on the CPU. The metadata hold the class names in order, as JSON, the key of the model
    and the normalisation, which is part of the graph. The same model gives the same bytes.
    """
    # Two images, because the exporter treats an axis of length one as a constant.
    example = torch.zeros(2, about.size, about.size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        RawImages(model, about).eval(),
        (example,),
        dynamo=True,
        opset_version=opset,
        input_names=["images"],
        output_names=["probabilities", "logits"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        verbose=False,
    )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    _forget_the_machine(proto)
    proto.producer_name = "NormLens"
    described = {
        "classes": about.classes,
        "size": about.size,
        "mean": about.mean,
        "std": about.std,
        "norm": about.norm,
        "source": about.source,
        "model_key": about.model_key,
        "weights_sha256": about.weights_sha256,
        "data_digest": about.data_digest,
    }
    for key, value in described.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        proto.metadata_props.add(key=key, value=text)
    return bytes(proto.SerializeToString(deterministic=True))


def _forget_the_machine(proto: "onnx.ModelProto") -> None:
    """Delete the exporter's notes: stack traces with the paths of files on this machine."""
    del proto.metadata_props[:], proto.graph.metadata_props[:]
    proto.doc_string = proto.graph.doc_string = ""
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in proto.graph.initializer:
        del tensor.metadata_props[:]


def answers(content: bytes, images: npt.NDArray[np.uint8]) -> tuple[np.ndarray, np.ndarray]:
    """Run raw images (N, S, S, 3) through ONNX Runtime. Returns probabilities and logits, float32 (N, C) each.

    The first image runs alone and the others in batches, to test that any batch size works.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    batches = [images[:1], *(images[start : start + BATCH] for start in range(1, len(images), BATCH))]
    parts = [session.run(["probabilities", "logits"], {"images": np.ascontiguousarray(part)}) for part in batches]
    probabilities, logits = zip(*parts, strict=True)
    return np.concatenate(probabilities), np.concatenate(logits)


def difference(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]) -> Difference:
    """The difference of two outputs, each a pair of probabilities and logits (N, C)."""
    probabilities, logits = (float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(ours, theirs, strict=True))
    return Difference(probabilities, logits, float(np.abs(ours[1]).max()))
