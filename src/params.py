"""Typed, validated parameters: the schema of `params.yaml`.

No key has a default, and unknown keys are rejected. So `params.yaml` is the only source of parameters, every
`-S key=value` is a plain override, and the record of every run is complete.
"""

import difflib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from src import git
from src.addresses import redacted, user_problem
from src.artifacts import PARAMS
from src.errors import UserError
from src.yaml_files import SHOWN, as_name, flatten, number, parse_yaml, read_yaml, shown

# Generous limits that keep sums finite and sizes feasible.
LEAST, MOST = 1e-12, 1e12  # for values without a natural limit
LARGEST_ARGUMENT = 1024  # of a transform, for example a side in pixels
MOST_DEVICES = 1024  # per node, and also the limit of nodes
MOST_PIXELS = 4 * 10**9  # of all generated images: 16 GB
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all except the line feed
LONGEST = 1000  # characters of a text
OF_SIZE = re.compile(r"size(?:/([1-9][0-9]*))?")  # data.size or a share of it, in `augment`
MEANS_SIZE = re.compile(r"(?i)\bsize")  # no transform takes such a text with another meaning
OWN = "own"  # data.path in the committed params.yaml: not set by the user


def _finite(value: object) -> object:
    value = number(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite", "Input should be a finite number")
    return value


def _rate(value: object) -> object:
    """A learning rate: a number above 0, or `auto`."""
    value = number(value)
    if value == "auto":
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and LEAST <= value <= MOST:
        return float(value)
    raise PydanticCustomError("rate", f"Allowed: auto, or a number above 0 ({LEAST:g} to {MOST:g})")


def _devices(value: object) -> object:
    """A number of devices, or `auto`."""
    if value == "auto" or (type(value) is int and 1 <= value <= MOST_DEVICES):
        return value
    raise PydanticCustomError("devices", f"Allowed: auto, or a whole number from 1 to {MOST_DEVICES}")


def _text(value: str) -> str:
    """A text that terminals, figures and pages can show. Pydantic rejects lone surrogates itself."""
    if CONTROL.search(value):
        raise PydanticCustomError("text", "Input should not contain control characters")
    if "${" in value or value == "???":  # OmegaConf syntax, and DVC reads params.yaml with OmegaConf before each `-S`
        raise PydanticCustomError("text", "Input should not be ??? and should not contain ${, which DVC replaces")
    return value


def _encoding(value: str) -> str:
    """A text encoding of Python, or ''."""
    try:
        b"a".decode(value or "ascii")  # Python does not look up the encoding of no bytes
    except (LookupError, UnicodeError):
        raise PydanticCustomError("encoding", "Allowed: '', or an encoding such as gbk, shift_jis or cp1252") from None
    return value


def _arguments(value: Any) -> Any:
    """`augment`, or a part of it, without values that could make an image of gigabytes or an unprintable text."""
    for part in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _arguments(part)
    if isinstance(value, (int, float)) and not abs(value) <= LARGEST_ARGUMENT:  # NaN is not either
        raise _conflict("augment", f"contains a number beyond {LARGEST_ARGUMENT}, the limit for transforms")
    if isinstance(value, str) and (CONTROL.search(value) or len(value) > LONGEST):
        raise _conflict("augment", f"contains a control character, or a text of over {LONGEST} characters")
    if isinstance(value, str) and MEANS_SIZE.search(value) and not OF_SIZE.fullmatch(value):
        allowed = "size, or size/N with a whole number N above 0 and no spaces, as in size/8"
        raise _conflict("augment", f"contains {shown(value)}. Allowed: {allowed}")
    return value


Float = Annotated[float, BeforeValidator(_finite)]
Rate = Annotated[float | Literal["auto"], BeforeValidator(_rate)]
Devices = Annotated[int | Literal["auto"], BeforeValidator(_devices)]
Share = Annotated[Float, Field(ge=0, lt=1)]
Positive = Annotated[Float, Field(ge=LEAST, le=MOST)]
NotNegative = Annotated[Float, Field(ge=0, le=MOST)]
AboveOne = Annotated[Float, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Patience = Annotated[int, Field(ge=0, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Text = Annotated[str, Field(max_length=LONGEST), AfterValidator(_text)]

Norm = Literal["batch", "layer", "layer2d", "group", "instance", "none"]
Suggestion = Literal["valley", "steepest", "slide", "minimum", "peak", "edge", "centroid"]
CamMethod = Literal[
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "LayerCAM",
    "XGradCAM",
    "EigenCAM",
    "EigenGradCAM",
    "GradCAMElementWise",
    "ScoreCAM",
    "AblationCAM",
]


class Section(BaseModel):
    """A mapping of `params.yaml`. It rejects unknown keys, has strict types, and is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Shapes(Section):
    seed: Seed
    train: Annotated[int, Field(ge=40, le=1_000_000)]
    test: Annotated[int, Field(ge=10, le=1_000_000)]


class Data(Section):
    source: Literal["cifar10", "folder", "shapes"]
    path: Annotated[Text, Field(min_length=1)]
    url: Text
    sha256: Text
    mirrors: Annotated[list[Text], Field(max_length=20)]
    size: Annotated[int, Field(ge=16, le=512, multiple_of=8)]
    share: Annotated[Float, Field(gt=0, le=1)]
    val_share: Share
    test_share: Annotated[Float, Field(gt=0, lt=1)]
    split_seed: Seed
    max_unreadable: Share
    max_duplicates: Annotated[Float, Field(ge=0, le=1)]
    zip_encoding: Annotated[Text, AfterValidator(_encoding)]
    shapes: Shapes


class Model(Section):
    width: Annotated[int, Field(ge=4, le=512)]
    strides: Annotated[list[Annotated[int, Field(ge=1, le=4)]], Field(min_length=4, max_length=4)]
    zero_init: bool
    weight_standardization: bool


class LrRange(Section):
    start: Positive
    end: Positive
    iterations: Annotated[int, Field(ge=10, le=10_000)]
    mode: Literal["exp", "linear"]
    smoothing: Share
    diverge: Annotated[Float, Field(gt=1, le=MOST)]
    suggestion: Suggestion


class Train(Section):
    epochs: Count
    batch_size: Count
    optimizer: Literal["sgd", "adam", "adamw"]
    schedule: Literal["onecycle", "plateau", "cosine", "constant"]
    weight_decay: NotNegative
    decay_norms: bool
    label_smoothing: Share
    class_weights: Literal["none", "balanced"]
    grad_clip: NotNegative
    ema: Share
    early_stopping: Patience
    keep: Literal["last", "best"]
    compile: bool
    workers: Annotated[int, Field(ge=0, le=256)]
    devices: Devices
    nodes: Annotated[int, Field(ge=1, le=MOST_DEVICES)]
    sync_batch_norm: bool


class Sgd(Section):
    momentum: Share
    nesterov: bool


class Adam(Section):
    beta1: Share
    beta2: Share
    eps: Positive


class Optimizers(Section):
    sgd: Sgd
    adam: Adam
    adamw: Adam


class OneCycle(Section):
    pct_start: Annotated[Float, Field(gt=0, lt=1)]
    div: AboveOne
    final_div: AboveOne
    anneal: Literal["linear", "cos"]
    cycle_momentum: bool
    base_momentum: Share
    max_momentum: Share


class Plateau(Section):
    monitor: Literal["loss", "accuracy"]
    factor: Annotated[Float, Field(gt=0, lt=1)]
    patience: Patience
    threshold: NotNegative
    threshold_mode: Literal["rel", "abs"]


class Cosine(Section):
    warmup: Share


class Constant(Section):
    warmup: Share


class Schedules(Section):
    onecycle: OneCycle
    plateau: Plateau
    cosine: Cosine
    constant: Constant


class Evaluate(Section):
    batch_size: Count
    bins: Annotated[int, Field(ge=2, le=1000)]
    flip: bool


class MapMeasures(Section):
    images: Annotated[int, Field(ge=0, le=100_000)]
    methods: Annotated[list[CamMethod], Field(min_length=1, max_length=10)]


class GradCam(Section):
    method: CamMethod
    layers: Annotated[list[Text], Field(min_length=1, max_length=50)]
    count: Count
    choose: Literal["first", "confident", "random"]
    columns: Annotated[int, Field(ge=1, le=20)]
    image_weight: Annotated[Float, Field(ge=0, le=1)]
    aug_smooth: bool
    eigen_smooth: bool
    batch_size: Count
    measure: MapMeasures


class Reference(Section):
    name: Text
    accuracy: Annotated[Float, Field(ge=0, le=1)]
    note: Text


class Params(Section):
    recipe: Text
    norm: Norm
    seed: Seed
    lr: Rate
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:[0-9]|cuda:[1-9][0-9])$")]
    precision: Literal["auto", "bf16", "fp32"]
    data: Data
    augment: Annotated[list[dict[str, JsonValue]], Field(max_length=50), AfterValidator(_arguments)]
    model: Model
    lr_range: LrRange
    train: Train
    optimizer: Optimizers
    schedule: Schedules
    evaluate: Evaluate
    gradcam: GradCam
    reference: Reference

    @model_validator(mode="after")
    def _across_keys(self) -> "Params":
        """Reject values that are allowed individually but not together."""
        if self.lr_range.end <= self.lr_range.start:
            raise _conflict("lr_range.end", f"must be above lr_range.start ({self.lr_range.start:g})")
        if self.data.val_share == 0:
            needs = {
                "train.schedule": self.train.schedule == "plateau",
                "train.keep": self.train.keep == "best",
                "train.early_stopping": self.train.early_stopping > 0,
            }
            for key, wanted in needs.items():
                if wanted:
                    raise _conflict(key, "needs validation images, but data.val_share is 0. Use -S data.val_share=0.1")
        if self.schedule.onecycle.base_momentum > self.schedule.onecycle.max_momentum:
            raise _conflict("schedule.onecycle.base_momentum", "must not be above schedule.onecycle.max_momentum")
        if self.norm == "none" and self.model.weight_standardization:
            raise _conflict("model.weight_standardization", "needs a norm after each convolution, but norm is none")
        if self.optimizer.sgd.nesterov and self.optimizer.sgd.momentum == 0:
            raise _conflict("optimizer.sgd.nesterov", "needs optimizer.sgd.momentum above 0")
        pixels = (self.data.shapes.train + self.data.shapes.test) * self.data.size**2
        if self.data.source == "shapes" and pixels > MOST_PIXELS:
            problem = f"and data.shapes.test give {pixels:.2g} pixels at this data.size. Allowed: {MOST_PIXELS:.0e}"
            raise _conflict("data.shapes.train", problem)
        if self.data.url and not re.fullmatch(r"https?://\S+", self.data.url):
            raise _conflict("data.url", "must begin with http:// or https://. For a local file, set data.path instead")
        for key, addresses in {"data.url": [self.data.url], "data.mirrors": self.data.mirrors}.items():
            if problem := next(filter(None, map(user_problem, addresses)), ""):
                raise _conflict(key, f"cannot be used: {problem}")
        if re.match(r"[a-z]+://", self.data.path):
            raise _conflict("data.path", "must be a local folder or archive. Put an address into data.url")
        if self.data.url and self.data.source == "cifar10":
            problem = "is set, but data.source cifar10 does not use it"
            raise _conflict(
                "data.url", f"{problem}. For your own images, set data.source to folder. Otherwise set data.url to ''"
            )
        if self.data.url and self.data.source == "folder" and Path(self.data.path) != Path(OWN):
            raise _conflict("data.url", f"and data.path are both set. Set data.url to '', or data.path to {OWN}")
        if self.data.sha256 and not re.fullmatch(r"[0-9a-f]{64}", self.data.sha256):
            raise _conflict("data.sha256", "must be 64 hexadecimal digits in lower case, or '' for none")
        return self


def fill_size(value: Any, size: int) -> Any:
    """Return `augment`, or a part of it, with whole pixels in place of every `size` and `size/N`.

    Shares are rounded to the nearest pixel, halves up, and are at least 1.
    """
    if isinstance(value, list):
        return [fill_size(item, size) for item in value]
    if isinstance(value, Mapping):
        return {key: fill_size(item, size) for key, item in value.items()}
    found = OF_SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    divisor = int(found[1] or 1)
    return max(1, (2 * size + divisor) // (2 * divisor))


def _conflict(key: str, problem: str) -> PydanticCustomError:
    return PydanticCustomError("conflict", "{problem}", {"problem": problem, "key": key})


def load_params(path: Path = PARAMS) -> Params:
    """Read and validate `path`. Raises UserError with every wrong key, its allowed values and how to undo it."""
    return parse_params(read_yaml(path), path)


def parse_params(content: dict[str, Any], path: Path = PARAMS) -> Params:
    """Validate the content of `path`, which is only used in messages. Raises UserError like `load_params`."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        committed = committed_params(path)
        raise UserError("\n".join(_explain(e, committed, path) for e in error.errors())) from None


def problems(content: dict[str, Any]) -> list[tuple[str, str]]:
    """The problems of `content`: each key with the rest of a sentence that begins with it."""
    try:
        Params.model_validate(content)
    except ValidationError as error:
        return [explain_problem(e) for e in error.errors()]
    return []


def committed_params(path: Path = PARAMS) -> dict[str, Any]:
    """The content of `path` in the last commit, or {} if there is none or if it is malformed."""
    try:
        content = parse_yaml(git.output("show", f"HEAD:./{path.as_posix()}"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def hydra_value(value: object) -> str:
    """A value in the grammar of `dvc exp run -S` (Hydra's override grammar).

    The text `???` and texts with `${`, which DVC replaces by other parameters, cannot be expressed.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(hydra_value(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{hydra_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str) and not re.fullmatch(r"(?ai)(?!(true|false|null|nan|inf)$)[a-z_/][\w./-]*", value):
        # Hydra only needs a backslash doubled before a quote.
        return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value) + "'"
    return "null" if value is None else str(value)


def setting(key: str, value: object) -> str:
    """`-S key=value` for a printed command, with the value in Hydra's grammar and all of it quoted for the shell."""
    return f"-S {shlex.quote(f'{key}={hydra_value(value)}')}"


def wrong_value(key: str, problem: str, path: Path = PARAMS) -> UserError:
    """The error for a value that the schema allows but another part of the program rejects."""
    return UserError(f"{path}: {key} {problem}{_take_back(key, committed_params(path), path)}")


def nearest(name: str, names: Sequence[str]) -> str:
    """' (did you mean X?)' with the closest of `names`, or ''."""
    close = difflib.get_close_matches(name[:SHOWN], names, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _explain(error: ErrorDetails, committed: dict[str, Any], path: Path) -> str:
    """The message for one wrong key: the key, the problem, the allowed values and the command to undo it."""
    key, problem = explain_problem(error)
    match error["type"]:
        case "extra_forbidden":
            cure = f"\n  Remove it with: {git.undo(path)}, or -S ~{key}"
        case "missing":
            cure = f"\n  Put it back with: {git.undo(path)}"
        case _:
            cure = _take_back(key, committed, path)
    return f"{path}: {key} {problem}{cure}"


def explain_problem(
    error: ErrorDetails, names: Sequence[str] = (), kind: str = "a parameter", whole: str = "a key"
) -> tuple[str, str]:
    """The dotted key and the rest of the message: the problem and the allowed values.

    `names` are the allowed keys, by default those of params.yaml. `whole` stands for the key if no key is involved.
    """
    context = error.get("ctx", {})
    place = (str(part) for part in error["loc"] if part != "[key]")  # pydantic's mark of a wrong mapping key
    key = as_name(str(context.get("key") or ".".join(place))) or whole
    value = error["input"]
    match error["type"]:
        case "extra_forbidden":
            problem = f"is not {kind}{nearest(key, names or list(flatten(allowed_keys())))}"
        case "missing":
            problem = "is missing"
        case "conflict":
            problem = str(context["problem"])
        case "literal_error":
            names = re.findall(r"'([^']*)'", str(context["expected"]))
            hint = nearest(value, names) if isinstance(value, str) else ""
            problem = f"is {shown(value)}{hint}. Allowed: {', '.join(names)}"
        case "string_pattern_mismatch":
            problem = f"is {shown(value)}. Allowed: auto, cpu, cuda or cuda:N"
        case _:
            problem = f"is {shown(value)}. {re.sub('^(Input|List|String) ', 'It ', error['msg'])}"
    return key, problem


def _take_back(key: str, committed: dict[str, Any], path: Path) -> str:
    was = flatten(committed).get(key)
    if isinstance(was, str) and redacted(was) != was:  # a message without the password would give a wrong command
        was = None
    override = f", or {setting(key, was)}" if was is not None and not isinstance(was, (list, dict)) else ""
    return f"\n  Undo it with: {git.undo(path)}{override}"


def allowed_keys(section: type[BaseModel] = Params) -> dict[str, Any]:
    """All allowed keys as a nested mapping."""
    return {
        name: allowed_keys(field.annotation)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        else None
        for name, field in section.model_fields.items()
    }
