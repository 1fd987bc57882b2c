"""Export the trained model to ONNX for other programs and languages, and check it against PyTorch.

Input: raw images, uint8 (N, S, S, 3), RGB, in batches of any size. The graph normalises them.
Outputs: `probabilities` and `logits`, float32 (N, C). The metadata hold the class names, as JSON.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from src import artifacts
from src.data import prepared
from src.data.prepared import Split
from src.errors import UserError
from src.evaluation.logits import predict_logits
from src.evaluation.metrics import softmax
from src.export import BATCH, OPSET, OPSETS, TOLERANCE, Difference, answers, difference, to_onnx
from src.model.saved import Description, load_model
from src.runtime.run import run_command

OUT = Path("models/model.onnx")  # belongs to no stage, so DVC does not delete it
CHECKED = 256  # images


def main() -> None:
    """Export and compare. Only write the file if the results agree."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="file to write (%(default)s)")
    parser.add_argument(
        "--opset",
        type=int,
        default=OPSET,
        help=f"ONNX opset, {OPSETS[0]} to {OPSETS[-1]} (%(default)s)",
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    if out.suffix != ".onnx" or out.is_dir():
        raise UserError(f"--out is {out}. Give the name of a file that ends in .onnx")
    if arguments.opset not in OPSETS:
        raise UserError(f"--opset is {arguments.opset}. Allowed: {OPSETS[0]} to {OPSETS[-1]}")
    if not artifacts.MODEL.exists():
        raise UserError("this workspace has no trained model. Train one with: make quickstart, or dvc repro")

    model, about = load_model()
    content = to_onnx(model, about, arguments.opset)
    images, kind = images_for(about)
    apart = compare(content, model, about, images)
    told = (
        f"On {len(images)} {kind} images ONNX Runtime and PyTorch differ by at most {apart.probabilities:.1e} in a "
        f"probability and {apart.logits:.1e} in a logit (the largest is {apart.largest_logit:.3g})"
    )
    if not apart.tolerable:
        out.unlink(missing_ok=True)  # an older file would be mistaken for this one
        raise UserError(
            f"{out} was not written, because ONNX Runtime and PyTorch differ. {told}. The tolerance is {TOLERANCE:g}. "
            "Try another --opset"
        )
    artifacts.write_bytes(out, content)
    print(
        f"{out}: {len(content) / 2**20:.1f} MiB, opset {arguments.opset}, model {about.model_key}\n"
        f"in   images uint8 (N, {about.size}, {about.size}, 3), RGB, not normalised\n"
        f"out  probabilities and logits, float32 (N, {len(about.classes)})\n"
        f"{told}"
    )


def images_for(about: Description) -> tuple[npt.NDArray[np.uint8], str]:
    """Images to compare on and their kind: test images of the model's data set, or random ones."""
    try:
        data = prepared.load()
        if data.digest == about.data_digest:
            return np.ascontiguousarray(data.test.images[:CHECKED]), "test"
    except UserError:  # missing or damaged
        pass
    return np.random.default_rng(0).integers(0, 256, (CHECKED, about.size, about.size, 3), dtype=np.uint8), "random"


def compare(content: bytes, model: nn.Module, about: Description, images: npt.NDArray[np.uint8]) -> Difference:
    """Compare the output of ONNX Runtime with that of `commands.predict`."""
    split = Split(images, np.zeros(len(images), dtype=np.int64))
    logits = predict_logits(model, split, about.mean, about.std, device=torch.device("cpu"), batch_size=BATCH)
    return difference((softmax(logits), logits), answers(content, images))


if __name__ == "__main__":
    run_command(main)
