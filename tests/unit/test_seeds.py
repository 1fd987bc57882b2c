"""The recipes of the five seed projects: every value, and what the code builds of them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchinfo
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from src.config.recipes import read_recipe
from src.data.augment import check_transforms
from src.data.augmenters import Augmenter, make_augmenter
from src.params import Params, parse_params
from src.training.optimisers import make_optimizer
from src.training.schedules import Schedule, make_schedule
from src.training.untrained import new_model
from src.yaml_files import flatten, nest, read_yaml
from tests.conftest import PARAMS_YAML, REPOSITORY

COMMITTED = read_yaml(PARAMS_YAML)
TRAIN_IMAGES = 45_000  # of CIFAR-10's 50,000: the rest validates

# What the projects' code and notebooks ran, a value a line; the recipes are compared with this, leaf by leaf.
EVERY_SEED: dict[str, Any] = {
    "data.size": 32,
    "data.val_share": 0.1,
    "model.width": 64,
    "model.zero_init": False,
    "model.weight_standardization": False,
    "train.decay_norms": True,
    "train.label_smoothing": 0.0,
    "train.grad_clip": 0.0,
    "train.ema": 0.0,
    "train.early_stopping": 0,
    "train.keep": "last",
}
SWEEP = {"lr_range.start": 1e-5, "lr_range.end": 10.0, "lr_range.iterations": 200, "lr_range.mode": "exp"}
ADAM = {
    "train.optimizer": "adam",
    "optimizer.adam.beta1": 0.9,
    "optimizer.adam.beta2": 0.999,
    "optimizer.adam.eps": 1e-8,
}
ONECYCLE = {
    "train.schedule": "onecycle",
    "schedule.onecycle.pct_start": 0.25,
    "schedule.onecycle.div": 100.0,
    "schedule.onecycle.final_div": 100.0,
    "schedule.onecycle.anneal": "linear",
    "schedule.onecycle.cycle_momentum": True,
    "schedule.onecycle.base_momentum": 0.85,
    "schedule.onecycle.max_momentum": 0.95,
}


def pad(size: int, border_mode: int, **fill: int) -> dict[str, Any]:
    return {"name": "PadIfNeeded", "min_height": size, "min_width": size, "border_mode": border_mode, **fill}


def hole(side: int, p: float, fill: int | list[int] = 0) -> dict[str, Any]:
    exactly = [side, side]
    ranges = {"num_holes_range": [1, 1], "hole_height_range": exactly, "hole_width_range": exactly}
    return {"name": "CoarseDropout", **ranges, "fill": fill, "p": p}


CONSTANT, REFLECT = 0, 4  # OpenCV's numbers
CROP = {"name": "RandomCrop", "height": "size", "width": "size"}

TABLE: dict[str, dict[str, Any]] = {
    "seed-000": {
        **EVERY_SEED, **SWEEP, **ADAM, **ONECYCLE,
        "norm": "batch", "seed": 1, "lr": 0.0479, "model.strides": [1, 2, 2, 2],
        "train.epochs": 20, "train.batch_size": 512, "train.weight_decay": 0.0,
        "augment": [pad(36, REFLECT), CROP, hole(16, 1.0)],
        "gradcam.count": 20,
        "reference.name": "000_b224f73b9e6fe537.txt", "reference.accuracy": 0.9041,
    },
    "seed-001": {
        **EVERY_SEED,
        "norm": "batch", "seed": 1, "lr": 0.01, "model.strides": [1, 2, 2, 2],
        "train.epochs": 20, "train.batch_size": 512, "train.weight_decay": 5e-4,
        "train.optimizer": "sgd", "optimizer.sgd.momentum": 0.9, "optimizer.sgd.nesterov": False,
        "train.schedule": "plateau", "schedule.plateau.monitor": "loss", "schedule.plateau.factor": 0.1,
        "schedule.plateau.patience": 4, "schedule.plateau.threshold": 0.1, "schedule.plateau.threshold_mode": "rel",
        "augment": [pad(40, REFLECT), CROP, hole(16, 0.5)],
        "gradcam.count": 25,
        "reference.name": "001_9acbc4218d872296.txt", "reference.accuracy": 0.8925,
    },
    "seed-002": {
        **EVERY_SEED, **SWEEP, **ADAM, **ONECYCLE,
        "norm": "batch", "seed": 1, "lr": 0.0163, "model.strides": [1, 2, 2, 2],
        "train.epochs": 20, "train.batch_size": 512, "train.weight_decay": 1e-4,
        "augment": [pad(40, REFLECT), CROP, {"name": "HorizontalFlip", "p": 0.2}, hole(8, 0.5)],
        "gradcam.count": 15,
        "reference.name": "002_478f47d3c1c33167.txt", "reference.accuracy": 0.9244,
    },
    "seed-003": {
        **EVERY_SEED, **ADAM,
        "norm": "layer", "seed": 1, "lr": 1e-3, "model.strides": [1, 1, 2, 2],
        "train.epochs": 40, "train.batch_size": 128, "train.weight_decay": 1e-4,
        "train.schedule": "plateau", "schedule.plateau.monitor": "accuracy", "schedule.plateau.factor": 0.2,
        "schedule.plateau.patience": 3, "schedule.plateau.threshold": 1e-4, "schedule.plateau.threshold_mode": "rel",
        "augment": [
            pad(40, REFLECT), CROP, {"name": "Rotate", "limit": 5, "border_mode": REFLECT, "p": 0.5},
            hole(16, 0.5, [125, 123, 114]),
        ],
        "gradcam.count": 20,
        "reference.name": "003_282b77d50661939a.txt", "reference.accuracy": 0.9003,
    },
    "seed-004": {
        **EVERY_SEED, **SWEEP, **ADAM, **ONECYCLE,
        "norm": "batch", "seed": 0, "lr": 0.0021, "model.strides": [1, 2, 2, 2],
        "train.epochs": 20, "train.batch_size": 128, "train.weight_decay": 1e-4,
        "augment": [
            pad(40, CONSTANT, fill=0), CROP, hole(16, 0.5),
            {"name": "RandomBrightnessContrast", "brightness_limit": 0.2, "contrast_limit": 0.2, "p": 0.2},
        ],
        "gradcam.layers": ["layer2[-2]", "layer3[-2]", "layer4[-1]"],
        "reference.name": "004_15f1c638115f3549.txt", "reference.accuracy": 0.9214,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def params_of(name: str) -> Params:
    return parse_params(nest(flatten(COMMITTED) | read_recipe(name, COMMITTED)))


@pytest.mark.parametrize("name", TABLE)
def test_every_value_is_that_of_the_table_and_there_is_no_other(name: str) -> None:
    recipe = read_recipe(name, COMMITTED)
    note = recipe.pop("reference.note")
    assert note.startswith("Original CIFAR-10, all 50,000 training images")
    assert recipe == {"recipe": name, **TABLE[name]}
    assert {key: type(value) for key, value in recipe.items()} == {
        key: type(value) for key, value in {"recipe": name, **TABLE[name]}.items()
    }


@pytest.mark.parametrize("name", TABLE)
def test_nothing_that_shapes_the_weights_is_left_to_the_committed_file(name: str) -> None:
    recipe = read_recipe(name, COMMITTED)
    # These shape no result, the last three none of one device.
    ours = ("train.compile", "train.workers", "train.devices", "train.nodes", "train.sync_batch_norm")
    ours += ("train.class_weights",)  # suits a data set, not a recipe; on CIFAR-10 both values weigh all classes alike
    optimizer, schedule = recipe["train.optimizer"], recipe["train.schedule"]
    groups = ("norm", "seed", "lr", "augment", "model.", "train.", f"optimizer.{optimizer}.", f"schedule.{schedule}.")
    shaping = {key for key in flatten(COMMITTED) if key.startswith(groups) and not key.startswith("lr_range")}
    assert shaping - set(ours) <= recipe.keys()


@pytest.mark.parametrize("name", TABLE)
def test_the_comment_says_what_differs_from_the_original(name: str) -> None:
    text = (REPOSITORY / "recipes" / f"{name}.yaml").read_text()
    comment = " ".join(line.lstrip("# ") for line in text.partition("recipe:")[0].splitlines())
    assert TABLE[name]["reference.name"].removesuffix(".txt") in comment
    assert "45,000" in comment
    assert "standard deviation come from the training split" in comment
    assert ("the schedule sees the validation split" in comment) == (TABLE[name]["train.schedule"] == "plateau")
    assert ("starts low" in comment) == ("lr_range.start" in TABLE[name])


@pytest.mark.parametrize("name", TABLE)
def test_the_network_is_that_of_the_project(name: str) -> None:
    model = new_model(params_of(name), 10)
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    info = torchinfo.summary(model, (1, 3, 32, 32), verbose=0)
    assert info.total_mult_adds / 1e6 == pytest.approx(1763 if name == "seed-003" else 555.43, abs=0.5)
    norms = {type(m) for m in model.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm))}
    assert norms == ({nn.GroupNorm} if name == "seed-003" else {nn.BatchNorm2d})
    assert {m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)} <= {1}


def training_of(params: Params) -> tuple[nn.Module, Optimizer, Schedule]:
    assert params.lr != "auto"
    model = new_model(params, 10)
    optimizer = make_optimizer(model.parameters(), params.lr, params)
    steps = params.train.epochs * -(-TRAIN_IMAGES // params.train.batch_size)
    return model, optimizer, make_schedule(optimizer, params.lr, steps, params)


@pytest.mark.parametrize("name", TABLE)
def test_the_optimiser_is_that_of_the_project(name: str) -> None:
    model, optimizer, _ = training_of(params_of(name))
    (group,) = optimizer.param_groups  # decay goes to all parameters alike
    assert len(group["params"]) == len(list(model.parameters()))
    assert group["weight_decay"] == TABLE[name]["train.weight_decay"]
    if name == "seed-001":
        assert type(optimizer) is SGD
        assert (group["momentum"], group["nesterov"], group["dampening"]) == (0.9, False, 0)
    else:
        assert type(optimizer) is Adam  # its decay is an L2 term, not AdamW's
        assert (group["betas"][1], group["eps"], group["amsgrad"]) == (0.999, 1e-8, False)
        assert group["betas"][0] == pytest.approx(0.9 if name == "seed-003" else 0.95)  # one cycle begins at its most


@pytest.mark.parametrize(("name", "peak"), [("seed-000", 0.0479), ("seed-002", 0.0163), ("seed-004", 0.0021)])
def test_one_cycle_rises_to_the_recorded_peak_and_falls(name: str, peak: float) -> None:
    params = params_of(name)
    _, optimizer, schedule = training_of(params)
    assert type(schedule.scheduler) is OneCycleLR
    steps = params.train.epochs * -(-TRAIN_IMAGES // params.train.batch_size)
    rates, betas = [], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        betas.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        schedule.after_batch()
    top = int(0.25 * steps) - 1
    assert (rates[0], rates[top], rates[-1]) == pytest.approx((peak / 100, peak, peak / 10_000))
    assert np.diff(rates[: top + 1], 2) == pytest.approx(0, abs=1e-12)  # straight up
    assert np.diff(rates[top:], 2) == pytest.approx(0, abs=1e-12)  # straight down
    assert (betas[0], betas[top], betas[-1]) == pytest.approx((0.95, 0.85, 0.95))


@pytest.mark.parametrize(
    ("name", "monitor", "mode", "factor", "patience"),
    [("seed-001", "val_loss", "min", 0.1, 4), ("seed-003", "val_accuracy", "max", 0.2, 3)],
)
def test_a_plateau_of_the_validation_split_cuts_the_rate(
    name: str, monitor: str, mode: str, factor: float, patience: int
) -> None:
    params = params_of(name)
    _, optimizer, schedule = training_of(params)
    scheduler = schedule.scheduler
    assert isinstance(scheduler, ReduceLROnPlateau)
    assert (schedule.monitor, scheduler.mode, scheduler.threshold_mode) == (monitor, mode, "rel")
    rates = []
    for _ in range(patience + 3):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.after_batch()
        # The first epoch is the best; the others miss the threshold by a hair.
        hair = 0.5 * scheduler.threshold * (-1 if mode == "min" else 1)
        value = 0.5 if len(rates) == 1 else 0.5 * (1 + hair)
        schedule.after_epoch({"val_loss": value, "val_accuracy": value})
    assert params.lr != "auto"
    assert rates == pytest.approx([params.lr] * (patience + 2) + [params.lr * factor])


SIZE, COUNT = 32, 400


def augmented(name: str, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """COUNT images through the recipe's list, (COUNT, 32, 32, 3)."""
    params = params_of(name)
    augmenter: Augmenter = make_augmenter(params.augment, SIZE, params.seed)
    out: Tensor = augmenter(torch.from_numpy(images), torch.arange(len(images)), epoch=0)
    assert out.dtype == torch.uint8
    result: npt.NDArray[np.uint8] = out.numpy()
    return result


def uniform(color: int) -> npt.NDArray[np.uint8]:
    return np.full((COUNT, SIZE, SIZE, 3), color, np.uint8)


def holes(images: npt.NDArray[np.uint8], fill: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Height, width and pixels of what has the colour `fill` in each image that has any."""
    found = []
    for mask in (images == np.array(fill, np.uint8)).all(-1):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            found.append((int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, int(mask.sum())))
    return found


@pytest.mark.parametrize("name", TABLE)
def test_albumentations_takes_every_list(name: str) -> None:
    check_transforms(params_of(name).augment, SIZE)


@pytest.mark.parametrize("name", TABLE)
def test_common_lists_go_by_the_batch_and_the_others_image_by_image(name: str) -> None:
    params = params_of(name)
    one_by_one = make_augmenter(params.augment, SIZE, params.seed).one_by_one
    assert one_by_one == (name in ("seed-003", "seed-004"))


@pytest.mark.parametrize(
    ("name", "side", "share", "fill"),
    [
        ("seed-000", 16, 1.0, (0, 0, 0)),
        ("seed-001", 16, 0.5, (0, 0, 0)),
        ("seed-002", 8, 0.5, (0, 0, 0)),
        ("seed-003", 16, 0.5, (125, 123, 114)),
    ],
)
def test_holes_are_whole_and_in_as_many_images_as_they_should(
    name: str, side: int, share: float, fill: tuple[int, int, int]
) -> None:
    """On images of one colour borders do not show, since they are reflected: all that differs is the hole."""
    images = augmented(name, uniform(200))
    found = holes(images, fill)
    assert set(found) == {(side, side, side * side)}
    assert len(found) / COUNT == pytest.approx(share, abs=0.1 if share < 1 else 0)
    assert ((images == 200).all(-1) | (images == np.array(fill, np.uint8)).all(-1)).all()


def test_seed_004_has_a_black_border_and_changes_brightness_and_contrast_last() -> None:
    images = augmented("seed-004", uniform(128))
    darkest = images.min((1, 2, 3))
    border = [max(rows_of(image, low), rows_of(image[::-1], low)) for image, low in zip(images, darkest, strict=True)]
    assert set(border) == {0, 1, 2, 3, 4}  # the crop shows up to four rows of it; a hole never covers a whole row
    touched = np.array([128 not in image for image in images])
    assert touched.mean() == pytest.approx(0.2, abs=0.07)
    assert (darkest[touched] > 0).any()  # black border and hole are grey where it became brighter
    untouched = images[~touched]
    assert set(np.unique(untouched)) == {0, 128}
    with_hole = (untouched == 0).all(-1)[:, 4:-4, 4:-4].any((1, 2))  # within the reach of the border
    assert with_hole.mean() == pytest.approx(0.5, abs=0.1)


def rows_of(image: npt.NDArray[np.uint8], color: int) -> int:
    """How many rows from the top have `color` throughout."""
    other = (image != color).any((1, 2))
    return int(other.argmax())


def gradient() -> npt.NDArray[np.uint8]:
    """Images in which every pixel of the green channel tells its column and of the red channel its row."""
    rows, columns = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    image = np.stack([8 * rows, 8 * columns, np.full_like(rows, 7)], -1).astype(np.uint8)
    return np.repeat(image[None], COUNT, 0)


@pytest.mark.parametrize(("name", "furthest"), [("seed-000", 2), ("seed-001", 4), ("seed-002", 4)])
def test_crops_move_by_as_much_as_the_border_and_reflect_it(name: str, furthest: int) -> None:
    images = augmented(name, gradient())
    if name == "seed-002":  # undo the flips: columns grow to the right
        grows = [int(np.sign(np.diff(image[..., 1].max(0).astype(int))).sum()) for image in images]
        flipped = np.array(grows) < 0
        assert flipped.mean() == pytest.approx(0.2, abs=0.07)
        images[flipped] = images[flipped][:, :, ::-1]
    reflected = np.pad(np.arange(SIZE), furthest, "reflect")
    starts = set()
    for image in images:
        seen = image[..., 1].max(0) // 8  # a hole never covers a whole column
        (start,) = (k for k in range(2 * furthest + 1) if (reflected[k : k + SIZE] == seen).all())
        starts.add(start)
    assert starts == set(range(2 * furthest + 1))


def test_seed_003_turns_about_half_of_the_images_a_little() -> None:
    images = augmented("seed-003", gradient())
    turned = 0
    for image in images:
        rows = image[..., 0].astype(int)
        kept = image[..., 2] == 7  # not the hole
        # Unturned, all pixels of a row that the hole left have the same value.
        turned += any(len(set(row[keep])) > 1 for row, keep in zip(rows, kept, strict=True))
    assert turned / COUNT == pytest.approx(0.5, abs=0.1)


def test_the_holes_of_seed_003_have_the_mean_colour_of_cifar_10() -> None:
    filled = params_of("seed-003").augment[-1]["fill"]
    assert filled == [round(255 * mean) for mean in (0.4914, 0.4822, 0.4465)]  # red, green, blue
