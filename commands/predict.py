"""Classify your own images with the trained model, and draw class activation maps.

Writes reports/predict/NAME.png for each image: the input, and the map of the likeliest class over it.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src import artifacts
from src.data.images import FORMATS, decode
from src.errors import UserError, printable
from src.evaluation.logits import predict_probabilities
from src.explain.cams import cams_as_set
from src.figures.gradcam import prediction
from src.figures.style import plain, save
from src.model.device import resolve_device
from src.model.inputs import to_input
from src.model.saved import load_model
from src.params import load_params
from src.runtime.run import run_command
from src.wording import percent


def main() -> None:
    """Read all images. Then print the likeliest classes of each and write its overlay."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.predict",
        description=__doc__,
        epilog="Put -- before a file name that begins with a dash.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help=f"image file: {', '.join(FORMATS)}")
    parser.add_argument("--out", type=Path, default=Path("reports/predict"), help="folder for the maps (%(default)s)")
    parser.add_argument("--top", type=int, default=5, help="number of classes to print (%(default)s)")
    arguments = parser.parse_args()
    if arguments.top < 1:
        raise UserError(f"--top is {arguments.top}. It must be at least 1")
    if not artifacts.MODEL.exists():
        raise UserError("this workspace has no trained model. Train one with: make quickstart, or dvc repro")
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {arguments.out} cannot be created: {error.strerror}. Choose another one with: --out FOLDER"
        ) from None

    params = load_params()
    model, description = load_model()
    device = resolve_device(params.device)
    paths: list[Path] = arguments.images
    bar = partial(tqdm, delay=1, leave=False)
    images = np.stack([read_image(path, description.size) for path in bar(paths, desc="read")])  # (N, S, S, 3)
    batch_size, progress = params.evaluate.batch_size, partial(bar, desc="classify")
    probabilities = predict_probabilities(
        model, description, images, device=device, batch_size=batch_size, progress=progress
    )  # (N, C)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, : arguments.top]
    inputs = to_input(images, description.mean, description.std, device)
    progress = partial(bar, desc=params.gradcam.method)
    layer = params.gradcam.layers[-1]
    maps = cams_as_set(params.gradcam, model, layer, inputs, ranked[:, 0].tolist(), progress)  # (N, S, S)

    names = [description.classes[best] for best in ranked[:, 0]]
    classes = [printable(name) for name in description.classes]
    longest = max(len(name) for name in classes)
    for i, (path, target) in enumerate(zip(paths, targets_for(paths, arguments.out), strict=True)):
        title = f"{plain(names[i])}, {percent(probabilities[i, ranked[i, 0]], 1)}"
        save(prediction(images[i], maps[i], title, params.gradcam.image_weight), target)
        print(printable(f"{path}  ->  {target}"))
        for index in ranked[i]:
            print(f"  {classes[index]:<{longest}}  {percent(probabilities[i, index]):>8}")


def read_image(path: Path, size: int) -> np.ndarray:
    """Read an image file as model input, uint8 (size, size, 3). The UserError names the file and the problem."""
    try:
        return decode(path.read_bytes(), size)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{path} is not a readable image: {error}") from None


def targets_for(paths: list[Path], folder: Path) -> list[Path]:
    """The paths of the overlays: the first 50 letters of the image's name, with a number if it is taken. cat-2.png

    Images with the same name get different overlays, and no overlay overwrites an image.
    """
    inputs = {path.resolve() for path in paths}
    taken: dict[str, Path] = {}
    for path in paths:
        stem = path.stem[:50]
        number, target = 1, folder / f"{stem}.png"
        while target.name.casefold() in taken or target.resolve() in inputs:  # some file systems ignore case
            number += 1
            target = folder / f"{stem}-{number}.png"
        taken[target.name.casefold()] = target
    return list(taken.values())


if __name__ == "__main__":
    run_command(main)
