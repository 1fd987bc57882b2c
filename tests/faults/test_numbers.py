"""Numbers that are not finite, and data at the edge of what a network can be trained on."""

import math
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from src import artifacts
from src.data import prepared
from src.errors import UserError
from src.explain.cams import compute_cams
from src.figures.gradcam import overlay_grid
from src.figures.style import Described, save
from src.model.resnet import build
from src.model.saved import save_model
from src.params import CamMethod, Norm
from src.training import loop
from src.training.checkpoint import load_latest
from stages import evaluate
from tests.faults import memory
from tests.faults.small import STAGES, enter, run, small
from tests.pipeline.workspace import IDENTITY, Workspace, failure
from tests.unit.data_helpers import tree, write_folder
from tests.unit.test_explain_stages import DESCRIPTION

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room").mkdir()
    enter(tmp_path / "room", monkeypatch)


def spoil(monkeypatch: pytest.MonkeyPatch, call: int, value: float) -> list[torch.nn.Module]:
    """From its `call`-th training step on, every model's logits are `value`; returns the models that were asked."""
    asked: list[torch.nn.Module] = []
    whole = loop.FromPixels.forward

    def forward(self: loop.FromPixels, images: torch.Tensor) -> torch.Tensor:
        logits = whole(self, images)
        if self.training:
            asked.append(self.model)
        return logits * value if self.training and len(asked) >= call else logits

    monkeypatch.setattr(loop.FromPixels, "forward", forward)
    return asked


@pytest.mark.parametrize(
    ("call", "value", "where", "kept"),
    [
        (1, math.nan, "epoch 1, step 1 of 2", None),
        (2, math.inf, "epoch 1, step 2 of 2", None),
        (4, math.inf, "epoch 2, step 2 of 2", 1),
        (5, math.nan, "epoch 3, step 1 of 2", 2),
    ],
)
def test_a_bad_step_is_named_and_the_checkpoint_before_it_stays(
    monkeypatch: pytest.MonkeyPatch, call: int, value: float, where: str, kept: int | None
) -> None:
    params = small(**{"train.epochs": 4, "train.schedule": "constant"})
    run(params, "download", "prepare", "lr_range")
    asked = spoil(monkeypatch, call, value)
    with pytest.raises(UserError, match=rf"not finite in {where} at learning rate 0\.01"):
        run(params, "train")
    assert all(p.isfinite().all() for p in asked[-1].parameters())
    assert not artifacts.WEIGHTS.exists()
    (folder,) = Path(".checkpoints").iterdir() if kept else [Path(".checkpoints")]
    state = load_latest(folder, print)
    assert (state and len(state["history"])) == kept
    assert state is None or all(tensor.isfinite().all() for tensor in state["model"].values())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_the_weights_of_the_stopped_step_do_not_change(
    monkeypatch: pytest.MonkeyPatch, optimizer: str, bad: str
) -> None:
    params = small(**{"train.optimizer": optimizer, "train.weight_decay": 0.1})
    run(params, "download", "prepare", "lr_range")
    asked = spoil(monkeypatch, 1, math.nan if bad == "loss" else 1.0)
    before: list[torch.Tensor] = []
    whole = loop.new_model

    def new_model(*arguments: Any) -> torch.nn.Module:
        model = whole(*arguments)
        before.extend(p.detach().clone() for p in model.parameters())
        if bad == "gradient":
            next(model.parameters()).register_hook(lambda gradient: gradient * math.inf)
        return model

    monkeypatch.setattr(loop, "new_model", new_model)
    with pytest.raises(UserError, match="step 1 of 2"):
        run(params, "train")
    assert before
    assert all(torch.equal(was, now) for was, now in zip(before, asked[0].parameters(), strict=True))


@pytest.mark.slow
def test_a_validation_that_is_not_finite_keeps_the_epoch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    params = small(**{"train.epochs": 3})
    run(params, "download", "prepare", "lr_range")
    whole = loop.FromPixels.forward
    passes: list[int] = []

    def forward(self: loop.FromPixels, images: torch.Tensor) -> torch.Tensor:
        passes.extend([] if self.training else [1])
        return whole(self, images) * (math.nan if len(passes) > 1 else 1)

    monkeypatch.setattr(loop.FromPixels, "forward", forward)
    with pytest.raises(UserError, match="validation loss is not finite after epoch 2"):
        run(params, "train")
    (folder,) = Path(".checkpoints").iterdir()
    state = load_latest(folder, print)
    assert state is not None
    assert len(state["history"]) == 1


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_the_last_step_spoilt_is_never_kept(ema: float) -> None:
    """One step an epoch and no validation images: no loss is ever computed with the weights that it leaves."""
    params = small(
        **{"data.val_share": 0, "train.batch_size": 64, "train.schedule": "constant", "train.ema": ema},
    )
    run(params, "download", "prepare")
    artifacts.write_json(artifacts.LR, {"lr": 1e39})  # infinite in fp32
    with pytest.raises(UserError, match="weights are not finite after epoch 1"):
        run(params, "train")
    assert not list(Path(".checkpoints").rglob("*.pt"))


@pytest.mark.parametrize("good", [0, 3])
def test_a_range_test_without_finite_losses_suggests_nothing(monkeypatch: pytest.MonkeyPatch, good: int) -> None:
    params = small(lr="auto")
    run(params, "download", "prepare")
    spoil(monkeypatch, good + 1, math.nan)
    with pytest.raises(UserError, match=rf"has {good} finite losses and needs 5\. Lower lr_range\.start"):
        run(params, "lr_range")
    assert not artifacts.LR.exists()


def test_spoilt_weights_are_not_evaluated() -> None:
    run(small(), "download", "prepare", "lr_range", "train")
    model, description = evaluate.load_model()
    with torch.no_grad():
        next(model.parameters())[0] = math.nan
    save_model(model, description)
    with pytest.raises(UserError, match="not finite for 10 of 10 images, first for image 0"):
        run(small(), "evaluate")
    assert not (artifacts.METRICS / "evaluate.json").exists()


@pytest.mark.slow
def test_a_rate_far_too_high_ends_the_experiment_and_its_run(copy: Workspace) -> None:
    done = copy.run("dvc", "exp", "run", "-S", "lr=1e12", "-S", "norm=none", **IDENTITY)
    said = re.search(r"error: (.* not finite in epoch 1, step (\d+) of \d+ at learning rate \S+, .*)", done.stderr)
    assert done.returncode != 0, failure(done)
    assert said, failure(done)
    assert "Traceback" not in done.stdout + done.stderr
    (experiment_run,) = copy.runs()
    assert experiment_run.info.status == "FAILED"
    assert experiment_run.data.tags["failure"] == f"UserError: {said[1]}"
    assert not (copy.root / artifacts.WEIGHTS).exists()
    copy.undo()
    copy.ok("dvc", "repro")
    assert (copy.root / artifacts.WEIGHTS).exists()


Colour = tuple[int, int, int]
BLACK, WHITE, GREY, RED, GREEN = (0, 0, 0), (255, 255, 255), (90, 90, 90), (255, 0, 0), (0, 255, 0)


def paint(folder: str, colours: list[Colour]) -> None:
    """A picture of one colour for each of `colours`."""
    Path(folder).mkdir(parents=True)
    for number, colour in enumerate(colours):
        Image.new("RGB", (16, 16), colour).save(f"{folder}/{number}.png")


def own(**changes: Any) -> Any:
    return small(**({"data.source": "folder", "data.test_share": 0.3, "data.val_share": 0.3} | changes))


def images_by_class() -> list[tuple[int, int, int]]:
    """Of each class those for training, validation and testing."""
    data = artifacts.read_json(artifacts.METRICS / "data.json")
    return [(row["train"], row["val"], row["test"]) for row in data["counts"]]


def assert_finite() -> None:
    """No number of a result is NaN or infinite; only an undefined score is an empty cell."""
    for file in artifacts.METRICS.iterdir():
        assert not re.search(r"\b(nan|inf|infinity)\b", file.read_text(), re.IGNORECASE), file
    assert all(torch.isfinite(t).all() for t in safetensors.torch.load_file(artifacts.WEIGHTS).values())


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), [(BLACK, BLACK), (WHITE, WHITE), (RED, RED), (RED, GREEN)])
def test_constant_images(one: Colour, other: Colour) -> None:
    """No variation within an image or, if all images are equal, none at all: standard deviation 0."""
    for split in ("train", "test"):  # they cannot be split: copies stay together
        paint(f"own/{split}/a", [one] * 8)
        paint(f"own/{split}/b", [other] * 8)
    params = {norm: own(norm=norm, **{"data.val_share": 0}) for norm in ("batch", "instance", "none")}
    run(params["none"], "check", "download", "prepare")
    for of_norm in params.values():
        run(of_norm, "lr_range", "train", "evaluate", "gradcam")
        assert_finite()
    run(params["none"], "report")


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, 2, 3])
def test_one_two_or_three_images_a_class(images: int) -> None:
    for split in ("train", "test"):
        paint(f"own/{split}/a", [RED, GREY, BLACK][:images])
        paint(f"own/{split}/b", [GREEN, WHITE, BLACK][:images])
    run(own(**{"data.val_share": 0}), "check", "download", "prepare")
    for norm in get_args(Norm):
        run(own(norm=norm, **{"data.val_share": 0}), "lr_range", "train", "evaluate", "gradcam")
        assert_finite()
    run(own(norm=norm, **{"data.val_share": 0}), "report")


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(
    ("folders", "key"), [(("own/a", "own/b"), "data.test_share"), (("own/train/a", "own/train/b", "own/test/a",
                                                                    "own/test/b"), "data.val_share")],
)  # fmt: skip
def test_one_image_of_a_class_cannot_be_split(folders: tuple[str, ...], key: str, images: int) -> None:
    """Nor can its copies."""
    for folder in folders:
        paint(folder, [RED] * images)
    with pytest.raises(UserError, match=rf"{re.escape(key)}.*class a has only one image left to split"):
        run(own())
    assert not artifacts.PREPARED.exists()


@pytest.mark.slow
def test_eight_images_a_class_and_two_of_another() -> None:
    """With a batch larger than the training split."""
    write_folder(Path("own"), tree(*(f"{label}/{i}.png" for label in "ab" for i in range(8)), "c/0.png", "c/1.png"))
    with pytest.raises(UserError, match=r"data\.val_share \(0 keeps no .*class c has only one image left to split"):
        run(own(), "download", "prepare")
    run(own(**{"data.val_share": 0, "train.batch_size": 128}))
    assert images_by_class() == [(6, 0, 2), (6, 0, 2), (1, 0, 1)]
    assert_finite()


def test_a_class_that_train_lacks_is_named() -> None:
    for folder in ("train/a", "train/b", "test/a", "test/b", "test/c"):
        paint(f"own/{folder}", [RED, GREEN])
    with pytest.raises(UserError, match="train/ lacks: c"):
        run(own())


@pytest.mark.slow
def test_a_class_that_test_lacks_has_no_scores() -> None:
    for folder in ("train/a", "train/b", "train/c", "test/a", "test/b"):
        paint(f"own/{folder}", [RED, GREEN])
    run(own())
    assert images_by_class() == [(1, 1, 2), (1, 1, 2), (1, 1, 0)]
    assert_finite()
    scores = artifacts.read_csv(artifacts.METRICS / "per_class.csv")
    assert [(row["class"], row["images"], row["recall"] == "") for row in scores] == [
        ("a", "2", False), ("b", "2", False), ("c", "0", True)
    ]  # fmt: skip
    for page in (artifacts.REPORT, artifacts.CARD):
        assert not re.search(r"\bnan\b", page.read_text(), re.IGNORECASE)


@pytest.mark.slow
def test_batches_of_one_and_batches_larger_than_the_data() -> None:
    """14 training images: batches of 13 leave one image over, of which batch norm cannot take statistics."""
    write_folder(Path("own"), tree(*(f"{label}/{number}.png" for label in "ab" for number in range(14))))
    run(own(), "check", "download", "prepare")
    assert len(prepared.load().train) == 14
    for batch_size in (1, 2, 3, 13, 14, 1_000_000):
        params = own(**{"train.batch_size": batch_size})
        run(params, "check", "lr_range", "train", "evaluate", "gradcam")
        assert_finite()


def test_a_batch_of_one_with_a_single_value_in_a_channel_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.strides.*batch_size is 1"):
        run(small(**{"train.batch_size": 1, "model.strides": [2, 2, 2, 2]}), "check")


@pytest.mark.parametrize("share", [1e-12, 0.999999])
def test_every_class_keeps_an_image_on_either_side_of_a_split(share: float) -> None:
    params = small(**{"data.val_share": share, "train.keep": "best", "train.early_stopping": 1, "train.epochs": 2})
    run(params, "download", "prepare", "lr_range", "train", "evaluate")
    data = prepared.load()
    for split in (data.train, data.val):
        assert set(split.labels) == set(range(10))
    assert_finite()


@pytest.mark.slow
@pytest.mark.parametrize("row", memory.SHORT, ids=lambda row: f"{row.mode}-{row.norm}-{row.instructions}")
def test_training_writes_nothing_past_its_memory(row: memory.Row) -> None:
    if not memory.available():
        pytest.skip("no libc_malloc_debug.so.0: glibc 2.34 or newer brings it")
    assert memory.fault(row) == ""


@pytest.mark.slow
@pytest.mark.parametrize("right", [True, False])
def test_all_right_and_all_wrong(monkeypatch: pytest.MonkeyPatch, right: bool) -> None:
    params = small()
    run(params, *list(STAGES)[:5])

    def answers(model: object, split: prepared.Split, *_: object, **__: object) -> np.ndarray:
        return 50 * np.eye(10, dtype=np.float32)[split.labels if right else (split.labels + 1) % 10]

    monkeypatch.setattr("src.evaluation.evaluate.predict_logits", answers)
    run(params, "evaluate", "gradcam", "report")
    assert_finite()
    result = artifacts.read_json(artifacts.METRICS / "evaluate.json")
    assert (result["accuracy"], result["wrong"]) == ((1.0, 0) if right else (0.0, 10))
    assert artifacts.read_json(artifacts.METRICS / "gradcam.json")["shown"] == (0 if right else 3)
    assert len(artifacts.read_csv(artifacts.METRICS / "misclassified.csv")) == (0 if right else 3)
    assert ("No test image is misclassified" in artifacts.REPORT.read_text()) == right


@pytest.mark.parametrize("method", get_args(CamMethod))
def test_a_map_without_evidence_is_zero_and_is_drawn(method: str) -> None:
    torch.manual_seed(0)
    model = build("batch", 4, [1, 2, 2, 2], len(DESCRIPTION.classes)).eval()
    torch.nn.init.zeros_(model.linear.weight)  # no activation has any influence on a score
    for layer in (model.layer2, model.layer4):
        for smooth in (False, True):
            maps = compute_cams(
                model, layer, torch.zeros(2, 3, 16, 16), [0, 1], method=method, batch_size=2, aug_smooth=smooth,
                eigen_smooth=smooth,
            )  # fmt: skip
            assert np.isfinite(maps).all()
            if method in ("GradCAM", "GradCAMPlusPlus", "HiResCAM", "LayerCAM", "XGradCAM", "GradCAMElementWise"):
                assert not maps.any()
    grid = overlay_grid(np.zeros((2, 16, 16, 3), np.uint8), maps, ["a", "b"], 2, method, 0.5)
    save(Described(grid, method), Path("maps.png"))
    assert Path("maps.png").stat().st_size > 1000
