"""Generated images. The raw data only describes them, and `prepare` renders them at `data.size`."""

from pathlib import Path

from src import artifacts
from src.params import Data

SPEC = "shapes.json"


def fetch(data: Data, destination: Path) -> str:
    """Write the seed and the numbers of images to `destination/shapes.json`."""
    artifacts.write_json(destination / SPEC, data.shapes.model_dump())
    return f"{data.shapes.train} + {data.shapes.test} images to generate from seed {data.shapes.seed}"
