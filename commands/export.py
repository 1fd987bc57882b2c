"""Write the trained model as an ONNX file for other programs and languages, checked against PyTorch.

It takes raw images, uint8 (N, S, S, 3), RGB, any number at once; the normalisation is in the graph. It answers
`probabilities` and `logits`, float32 (N, C). The metadata hold the class names, as JSON.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from commands import run_command
from src import artifacts
from src.data import prepared
from src.data.prepared import Split
from src.errors import UserError
from src.evaluation.logits import predict_logits
from src.evaluation.metrics import softmax
from src.export import BATCH, OPSET, OPSETS, TOLERANCE, Difference, answers, difference, to_onnx
from src.model.saved import Description, load_model

OUT = Path("models/model.onnx")  # beside the weights, and no stage's: DVC leaves it alone
CHECKED = 256  # images


def main() -> None:
    """Export, compare, and write what agrees."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="file to write (%(default)s)")
    parser.add_argument(
        "--opset",
        type=int,
        default=OPSET,
        help=f"version of ONNX's operators, {OPSETS[0]} to {OPSETS[-1]} (%(default)s)",
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    if out.suffix != ".onnx" or out.is_dir():
        raise UserError(f"--out {out}: give the name of a file that ends in .onnx")
    if arguments.opset not in OPSETS:
        raise UserError(f"--opset is {arguments.opset}; allowed: {OPSETS[0]} to {OPSETS[-1]}")
    if not artifacts.MODEL.exists():
        raise UserError("there is no trained model here. Make one with: make quickstart, or dvc repro")

    model, about = load_model()
    content = to_onnx(model, about, arguments.opset)
    images, kind = images_for(about)
    apart = compare(content, model, about, images)
    told = (
        f"on {len(images)} {kind} images ONNX Runtime and PyTorch differ by at most {apart.probabilities:.1e} in a "
        f"probability and {apart.logits:.1e} in a logit (the largest is {apart.largest_logit:.3g})"
    )
    if not apart.tolerable:
        out.unlink(missing_ok=True)  # one from before would be taken for this one
        raise UserError(
            f"there is no {out}, because it would be wrong: {told}; {TOLERANCE:g} is tolerated. Try another --opset"
        )
    artifacts.write_bytes(out, content)
    print(
        f"{out}: {len(content) / 2**20:.1f} MiB, opset {arguments.opset}, model {about.model_key}\n"
        f"in   images uint8 (N, {about.size}, {about.size}, 3), RGB, not normalised\n"
        f"out  probabilities and logits, float32 (N, {len(about.classes)})\n"
        f"{told}"
    )


def images_for(about: Description) -> tuple[npt.NDArray[np.uint8], str]:
    """Images to compare on, and what they are: of the test set that belongs to the model, or drawn at random."""
    try:
        data = prepared.load()
        if data.digest == about.data_digest:
            return np.ascontiguousarray(data.test.images[:CHECKED]), "test"
    except UserError:  # none here, or damaged
        pass
    return np.random.default_rng(0).integers(0, 256, (CHECKED, about.size, about.size, 3), dtype=np.uint8), "random"


def compare(content: bytes, model: nn.Module, about: Description, images: npt.NDArray[np.uint8]) -> Difference:
    """ONNX Runtime's answers against those that `commands.predict` would give."""
    split = Split(images, np.zeros(len(images), dtype=np.int64))
    logits = predict_logits(model, split, about.mean, about.std, device=torch.device("cpu"), batch_size=BATCH)
    return difference((softmax(logits), logits), answers(content, images))


if __name__ == "__main__":
    run_command(main)
