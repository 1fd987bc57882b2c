"""Training: repeatable, resumable, independent of workers, and stopped before a bad step."""

import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.data.augmenters import make_augmenter
from src.data.loader import train_loader
from src.data.prepared import Prepared, Split
from src.errors import UserError
from src.model.inputs import to_input
from src.training import loop
from src.training.checkpoint import load_latest
from src.training.history import History, Row, best_epoch, should_stop, table_head, table_line
from src.training.key import model_key
from src.training.loop import Trained, train
from tests.conftest import REPOSITORY
from tests.unit.training_helpers import make_params, make_prepared

CPU = torch.device("cpu")
COLUMNS = [
    "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "images_per_second", "seconds",
    "cpu_percent", "memory_gib", "gpu_memory_gib",
]  # fmt: skip


class Killed(BaseException):
    pass


def run(
    folder: Path, prepared: Prepared | None = None, lr: float = 0.05, **overrides: Any
) -> tuple[Trained, list[Row]]:
    rows: list[Row] = []
    params = make_params(**overrides)
    trained = train(prepared or make_prepared(), params, lr, CPU, "fp32", folder, rows.append, lambda _: None)
    return trained, rows


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return trained.model.state_dict()


def equal(one: Trained, other: Trained) -> bool:
    return all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def measured(rows: History) -> list[tuple[float | None, ...]]:
    return [tuple(row[name] for name in COLUMNS[:6]) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return run(tmp_path_factory.mktemp("whole"), **{"train.epochs": 4})[0]


def test_it_learns_and_reports_every_epoch(tmp_path: Path) -> None:
    trained, rows = run(tmp_path, **{"train.epochs": 6, "train.label_smoothing": 0.0})
    assert [list(row) for row in rows] == [COLUMNS] * 6
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert trained.history == rows
    assert trained.epoch == 6
    assert rows[-1]["train_accuracy"] is not None
    assert rows[-1]["train_accuracy"] > 0.6
    assert all(row["lr"] is not None and row["lr"] > 0 for row in rows)
    assert rows[0]["gpu_memory_gib"] is None


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_bits_again_with_any_number_of_workers(whole: Trained, tmp_path: Path, workers: int) -> None:
    again, rows = run(tmp_path, **{"train.epochs": 4, "train.workers": workers})
    assert equal(whole, again)
    assert measured(rows) == measured(whole.history)


def test_another_seed_gives_other_bits(whole: Trained, tmp_path: Path) -> None:
    assert not equal(whole, run(tmp_path, seed=1, **{"train.epochs": 4})[0])


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"train.optimizer": "adam", "train.keep": "best"},
        {"train.optimizer": "adamw", "train.schedule": "cosine", "train.grad_clip": 0.5},
        {"train.schedule": "plateau", "schedule.plateau.patience": 0, "norm": "group"},
        {"train.class_weights": "balanced"},
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, overrides: dict[str, Any]) -> None:
    overrides = {"train.epochs": 4, **overrides}
    prepared = make_prepared(train=50)  # a last batch of 2, and classes of 17, 17 and 16 images
    uninterrupted, rows = run(tmp_path / "whole", prepared, **overrides)

    def kill(row: Row) -> None:
        if row["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        train(prepared, make_params(**overrides), 0.05, CPU, "fp32", tmp_path / "cut", kill, lambda _: None)
    resumed, rest = run(tmp_path / "cut", prepared, **overrides)
    assert equal(uninterrupted, resumed)
    assert resumed.epoch == uninterrupted.epoch
    assert measured(rest) == measured(rows[2:])
    assert measured(resumed.history) == measured(rows)


def test_class_weights_enter_the_training_loss_and_nothing_else(tmp_path: Path) -> None:
    """Black images at a rate of almost 0: the loss of an image depends only on its label, in every step."""
    labels = np.array([0] * 8 + [1] * 3 + [2], np.int64)
    black = Split(np.zeros((12, 16, 16, 3), np.uint8), labels)
    prepared = replace(make_prepared(), train=black, val=black)
    fixed = {"train.epochs": 1, "train.batch_size": 5, "train.label_smoothing": 0.0, "norm": "layer"}
    (trained, (plain,)), (_, (weighted,)) = (
        run(tmp_path / choice, prepared, 1e-12, **fixed, **{"train.class_weights": choice})
        for choice in ("none", "balanced")
    )
    logits = trained.model.eval()(to_input(black.images[:1], prepared.mean, prepared.std, CPU))
    losses = -logits.detach().log_softmax(1)[0].numpy()
    assert plain["train_loss"] == pytest.approx((8 * losses[0] + 3 * losses[1] + losses[2]) / 12, rel=1e-5)
    assert weighted["train_loss"] == pytest.approx(losses.mean(), rel=1e-5)  # each class counts a third
    for name in ("train_accuracy", "val_loss", "val_accuracy"):
        assert weighted[name] == pytest.approx(plain[name], rel=1e-5), name


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = run(tmp_path)

    def refuse(*_: object) -> Row:
        raise AssertionError

    monkeypatch.setattr(loop, "train_epoch", refuse)
    second, rows = run(tmp_path)
    assert rows == []
    assert equal(first, second)
    assert second.history == first.history


def test_without_a_validation_split(tmp_path: Path) -> None:
    trained, rows = run(tmp_path, make_prepared(val=0))
    assert all(row["val_loss"] is None and row["val_accuracy"] is None for row in rows)
    assert trained.epoch == 2
    assert " - " in table_line(rows[0])


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    best, rows = run(tmp_path / "best", **{"train.epochs": 5, "train.keep": "best"}, lr=0.3)
    assert best.epoch == best_epoch(rows)
    expected: list[dict[str, torch.Tensor]] = []

    def remember(row: Row) -> None:
        if row["epoch"] == best.epoch:
            state = load_latest(tmp_path / "last", print)
            assert state is not None
            expected.append(state["model"])

    params = make_params(**{"train.epochs": 5})
    train(make_prepared(), params, 0.3, CPU, "fp32", tmp_path / "last", remember, lambda _: None)
    assert all(torch.equal(tensor, weights(best)[name]) for name, tensor in expected[0].items())


def test_early_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 1.0, 2.0, 1.0, 0.5])
    monkeypatch.setattr(loop, "validate", lambda *_: {"val_loss": next(losses), "val_accuracy": 0.5})
    _, rows = run(tmp_path, **{"train.epochs": 9, "train.early_stopping": 2})
    assert [row["val_loss"] for row in rows] == [3.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path, norm: str) -> None:
    with pytest.raises(UserError, match=r"not finite in epoch 1, step \d of 3 at learning rate .*grad_clip"):
        run(tmp_path, norm=norm, lr=1e25)
    assert load_latest(tmp_path, print) is None


def test_the_bad_step_and_its_rate_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at only at the end, as on a GPU: the third step is bad, and no weight changes from then on."""
    prepared = make_prepared()
    params = make_params(**{"train.schedule": "constant", "train.batch_size": 8})
    loader = train_loader(prepared.train, make_augmenter([], 16, 0), batch_size=8, seed=0, workers=0, device=CPU)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3))
    after: list[torch.Tensor] = []

    class Forward(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            after.append(model[1].weight.detach().clone())
            logits: torch.Tensor = model(images.float() / 255)
            return logits * float("nan") if len(after) == 3 else logits

    optimizer = loop.make_optimizer(model.parameters(), 0.25, params)
    schedule = loop.make_schedule(optimizer, 0.25, 6, params)
    monkeypatch.setattr(loop, "LOOK_EVERY", {"cpu": 60.0})
    with pytest.raises(UserError, match=r"epoch 7, step 3 of 6 at learning rate 0\.25"):
        loop.train_epoch(Forward(), loader, optimizer, schedule, params, CPU, 7, None)
    assert len(after) == 6
    assert not torch.equal(after[1], after[2])
    assert torch.equal(after[2], after[5])


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on the CPU needs g++")
def test_a_compiled_step_equals_the_eager_one(tmp_path: Path) -> None:
    """Three steps in fp32: compiled code adds in another order, so losses agree to 1e-5 and weights to 1e-4."""
    (eager, _), (compiled, _) = (
        run(tmp_path / str(choice), **{"train.epochs": 1, "train.compile": choice}) for choice in (False, True)
    )
    for name in ("train_loss", "val_loss"):
        assert compiled.history[0][name] == pytest.approx(eager.history[0][name], rel=1e-5), name
    for name, tensor in weights(eager).items():
        torch.testing.assert_close(
            weights(compiled)[name], tensor, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


COMPILED = """
import torch
from torch._dynamo.utils import counters
from src.model.device import compiled
step = compiled(torch.nn.Sequential(torch.nn.BatchNorm2d(8), torch.nn.ReLU()))
step(torch.randn(4, 8, 4, 4)).sum().backward()
print(counters["aot_autograd"]["autograd_cache_hit"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on the CPU needs g++")
def test_code_that_was_compiled_for_another_instruction_set_is_not_used(tmp_path: Path) -> None:
    """PyTorch alone would build it with longer vectors than it was written for, and corrupt memory."""
    environment = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}

    def hits(**variables: str) -> int:
        return int(
            subprocess.run(
                [sys.executable, "-c", COMPILED],
                env={**environment, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **variables},
                cwd=REPOSITORY, capture_output=True, text=True, check=True,
            ).stdout
        )  # fmt: skip

    assert [hits(ATEN_CPU_CAPABILITY="default"), hits(), hits()] == [0, 0, 1]


def test_gradients_are_clipped_to_the_norm() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert loop._clip([weight], 0.0).item() == 5
    assert weight.grad.tolist() == [3, 4]
    assert loop._clip([weight], 1.0).item() == 5
    assert weight.grad.tolist() == pytest.approx([0.6, 0.8], abs=1e-5)


@pytest.mark.parametrize("long", [0.0, math.inf])
def test_an_estimate_of_the_time_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: float) -> None:
    monkeypatch.setattr(loop, "LONG", long)
    said: list[str] = []
    params = make_params(device="auto", **{"train.batch_size": 4})
    train(make_prepared(), params, 0.05, CPU, "fp32", tmp_path, lambda _: None, said.append)
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    assert "for 2 epochs" in said[0]
    assert ("python -m recipes laptop" in said[0]) == (long == 0)


def history(*values: tuple[float | None, float | None]) -> History:
    return [{"val_loss": loss, "val_accuracy": accuracy} for loss, accuracy in values]


def test_choice_of_the_epoch_by_hand() -> None:
    rows = history((1.0, 0.5), (0.9, 0.7), (0.8, 0.7), (0.85, 0.6))
    assert best_epoch(rows) == 2
    assert best_epoch(history((None, None), (None, None))) == 2
    assert [should_stop(rows, patience) for patience in (0, 1, 2)] == [False, True, False]
    assert not should_stop([], 1)


def test_the_table_is_aligned() -> None:
    row: Row = dict.fromkeys(COLUMNS, 0.5) | {"epoch": 12, "images_per_second": 12345.6, "seconds": 1234.5}
    assert len(table_line(row)) == len(table_head())
    assert table_line(row | {"val_loss": None, "val_accuracy": None}).split()[4:6] == ["-", "-"]


def test_the_key_covers_what_shapes_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)

    def key(lr: float = 0.1, data: str = "d", device: str = "cpu", ranks: int = 1, **overrides: Any) -> str:
        return model_key(make_params(**overrides), lr, data, device, "fp32", ranks)

    start = key()
    assert len(start) == 20
    for same in ({"train.workers": 3}, {"optimizer.adam.eps": 0.1}, {"gradcam.count": 3}):
        assert key(**same) == start, same
    for same in ({"train.devices": 2}, {"train.nodes": 2}, {"norm": "batch"}, {"train.sync_batch_norm": True}):
        assert key(ranks=4, **same) == start, same  # all but the order of additions
    own = {"train.sync_batch_norm": False}
    assert key(**own) == start
    assert len({start, key(ranks=2, **own), key(ranks=4, **own)}) == 3
    assert key(ranks=2, norm="layer", **own) == key(norm="layer")
    different = [
        key(lr=0.2), key(data="e"), key(device="cuda"), key(norm="layer"), key(seed=1), key(augment=[]),
        key(**{"model.width": 8}), key(**{"train.epochs": 3}), key(**{"optimizer.sgd.momentum": 0.5}),
        key(**{"schedule.onecycle.div": 10.0}), key(**{"train.schedule": "cosine"}),
        key(**{"train.class_weights": "balanced"}),
    ]  # fmt: skip
    assert len({start, *different}) == 13
