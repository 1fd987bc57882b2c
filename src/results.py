"""The result files of the stages as types, with the functions that read and write them.

A file may have keys or columns that its type lacks, and these are ignored. Fields with a default are written only if
they were given. So files of older code, which lack them, can be read.

src/model/saved.py writes `models/model.json`, and checks its hashes before a model is rebuilt. Here it is only read.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from src import artifacts
from src.errors import UserError

MISCLASSIFIED = artifacts.METRICS / "misclassified.csv"  # of `Prediction`, like predictions.csv
MODEL_SUMMARY = artifacts.METRICS / "model_summary.txt"  # the table of layers


def _known(value: object) -> object:
    """None for an empty cell and for NaN, the score of a class that is undefined (0 / 0)."""
    return None if value == "" or (isinstance(value, float) and math.isnan(value)) else value


Cell = Annotated[float | None, BeforeValidator(_known)]
Score = Annotated[Cell, PlainSerializer(lambda value: "" if value is None else f"{value:.6f}")]


class Part(BaseModel):
    """Named values. They cannot be changed."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    @classmethod
    def parse(cls, content: Mapping[str, Any], path: Path) -> Self:
        """Validate `content`, which is from `path`. Raises UserError if it is damaged or of another version."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise UserError(f"{path} is damaged or from another version ({problem}). {artifacts.cure(path)}") from None


class File(Part):
    """The content of the JSON file PATH."""

    PATH: ClassVar[Path]

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """Read PATH in this workspace, or another `path`. Raises UserError as `parse` does."""
        path = path or cls.PATH
        return cls.parse(artifacts.read_json(path), path)

    def write(self) -> None:
        """Write PATH."""
        artifacts.write_json(self.PATH, self.model_dump(by_alias=True, exclude_unset=True))


class Row(Part):
    """A row of the CSV file PATH."""

    PATH: ClassVar[Path]

    @classmethod
    def read_all(cls, path: Path | None = None) -> list[Self]:
        """Read all rows of PATH, or of another `path`. Raises UserError as `parse` does."""
        path = path or cls.PATH
        return [cls.parse(row, path) for row in artifacts.read_csv(path)]

    @classmethod
    def write_all(cls, rows: Sequence[Self], path: Path | None = None) -> None:
        """Write PATH, or another `path`, with only a header if there are no rows."""
        path = path or cls.PATH
        if rows:
            artifacts.write_csv(path, [row.model_dump(by_alias=True) for row in rows])
        else:
            columns = [field.serialization_alias or name for name, field in cls.model_fields.items()]
            artifacts.write_text(path, ",".join(columns) + "\n")


# prepare


class ClassCounts(Part):
    """The number of images of a class in each split."""

    name: str = Field(validation_alias="class", serialization_alias="class")
    train: int
    val: int
    test: int


class LeftOut(Part):
    """Files that were not used, for one reason."""

    reason: str
    files: int
    examples: list[str]


class Copy(Part):
    """The place of an image that has copies. `label` is the name of its class."""

    split: str
    label: str
    file: str


class Duplicates(Part):
    """The number of images with copies in another split or under another label, see src/data/duplicates.py."""

    train_test: int
    train_val: int
    val_test: int
    two_labels: int
    examples: list[list[Copy]]  # copies of some images


class DataSet(File):
    """What `prepare` says about the data."""

    PATH = artifacts.METRICS / "data.json"

    source: str
    digest: str
    classes: int
    size: int  # side of an image in pixels
    share: float
    train: int
    val: int
    test: int
    unreadable: int
    layout: str
    counts: list[ClassCounts]
    left_out: list[LeftOut]
    notes: list[str]
    duplicates: Duplicates


# lr_range


class RangeTest(File):
    """The rate by each rule of the range test, and the rate that is used."""

    PATH = artifacts.METRICS / "lr_range.json"

    suggestions: dict[str, float]
    suggestion: str  # the rule of params.yaml
    lr: float
    last_lr: float
    iterations: int
    seconds: float


class LearningRate(File):
    """The rate that `train` uses."""

    PATH = artifacts.LR

    lr: float


class RangeStep(Row):
    """A batch of the range test."""

    PATH = artifacts.METRICS / "lr_range.csv"

    lr: float
    loss: float
    smoothed: float


# train


class Epoch(Row):
    """An epoch of the training. `val_*` are None without a validation split."""

    PATH = artifacts.METRICS / "history.csv"

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: Cell = None
    val_accuracy: Cell = None
    lr: float
    images_per_second: float
    seconds: float
    cpu_percent: Cell = None
    memory_gib: Cell = None
    gpu_memory_gib: Cell = None


class Training(File):
    """Metrics of the epoch whose weights were kept, and the time and speed of the training."""

    PATH = artifacts.METRICS / "train.json"

    train_loss: float
    train_accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None
    epochs: int
    best_epoch: int
    seconds: float
    images_per_second: float
    parameters: int
    lr: float


class Model(File):
    """The description of a trained model, without its weights. See src.model.saved.Description."""

    PATH = artifacts.MODEL

    norm: str
    width: int
    strides: list[int]
    classes: list[str]
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    model_key: str
    lr: float
    epoch: int
    device: str
    precision: str
    hardware: str
    parameters: int
    weights_sha256: str


# evaluate


class Evaluation(File):
    """The test metrics. Shares are fractions. `flip_*` are those with test-time augmentation, if it is on."""

    PATH = artifacts.METRICS / "evaluate.json"

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    macro_f1: float
    top5: float
    loss: float
    ece: float
    images: int
    wrong: int
    images_per_second: float
    flip_accuracy: float | None = None
    flip_accuracy_low: float | None = None
    flip_accuracy_high: float | None = None


class ClassScores(Row):
    """The scores of a class on its test images. None for an undefined score."""

    PATH = artifacts.METRICS / "per_class.csv"

    name: str = Field(validation_alias="class", serialization_alias="class")
    precision: Score
    recall: Score
    f1: Score
    images: int


class Prediction(Row):
    """The prediction for a test image. `file` is its path in the user's folder or archive, '' for other sources."""

    PATH = artifacts.METRICS / "predictions.csv"

    index: int
    file: str = ""
    true: str
    predicted: str
    confidence: Annotated[float, PlainSerializer(lambda value: f"{value:.6f}")]

    @property
    def wrong(self) -> bool:
        return self.true != self.predicted


# gradcam


class Estimate(Part):
    """A mean over images with its 95 % interval. No interval for a single image, or if all values are equal."""

    mean: float
    low: int | float | None  # whole where the interval was cut to the range of the measure
    high: int | float | None


class MapEstimate(Estimate):
    """A measure of the maps of one method at one layer, or of a baseline.

    `better_than_*` are mean differences over the same images, above 0 if the map is better.
    """

    curves: dict[str, list[float]] = {}
    better_than_random: Estimate | None = None
    better_than_centre: Estimate | None = None


class MapMeasure(Part):
    """A measure of maps by method and layer, None if it was only taken for others. src/explain/summary.py makes it."""

    title: str = ""
    what: str
    higher_is_better: bool
    x: list[float | str]  # of the curves
    baselines: dict[str, dict[str, MapEstimate]]  # by name and layer
    methods: dict[str, dict[str, MapEstimate | None]]


class Sample(Part):
    """The images on which maps are measured: `images` of `of` test images, drawn with `seed`."""

    images: int
    of: int
    seed: int


class Maps(File):
    """Measures of the maps, and sentences about them. A measure is None if it was not taken."""

    PATH = artifacts.METRICS / "gradcam.json"

    method: str  # of the maps in the figures of mistakes
    layer: str
    grids: dict[str, str]  # name of the figure by layer
    wrong: int
    shown: int
    images_per_second: float
    measure_seconds: float = 0.0
    sample: Sample
    road: MapMeasure | None
    insertion: MapMeasure | None
    deletion: MapMeasure | None
    pointing_game: MapMeasure | None
    energy: MapMeasure | None
    randomisation: MapMeasure | None
    verdict: list[str]

    @property
    def measures(self) -> dict[str, MapMeasure]:
        """The measures that were taken, by name."""
        return {name: value for name, value in self if isinstance(value, MapMeasure)}

    def own(self, name: str) -> MapEstimate | None:
        """The measure `name` of the maps in the figures of mistakes. None if it was not taken."""
        measure = self.measures.get(name)
        return None if measure is None else measure.methods.get(self.method, {}).get(self.layer)
