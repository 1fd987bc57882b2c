"""Training from the initial weights to the last epoch, on one device or as one of several ranks (`ranks.py`).

On the CPU the same parameters give the same bits, for any number of loader workers and interruptions. Another number of
ranks adds numbers in another order. Losses, hits and the first non-finite step stay on the device, so that nothing
waits for a GPU within an epoch shorter than LOOK_EVERY.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from src.data.augmenters import make_augmenter
from src.data.loader import Batch, batch_sizes, set_epoch, slow_way, to_tensors, train_loader
from src.data.prepared import Prepared, Split
from src.errors import UserError
from src.model.device import Precision, compiled, hardware_name, prefers_channels_last
from src.params import Params
from src.processes import cores
from src.training.average import Average
from src.training.batch_norm import over_ranks
from src.training.checkpoint import load_latest, save_checkpoint
from src.training.forward import FromPixels
from src.training.history import History, Row, best_epoch, should_stop
from src.training.loss import make_class_weights, training_loss
from src.training.optimisers import make_optimizer
from src.training.progress import progress
from src.training.randomness import capture, restore, seed_everything
from src.training.ranks import ALONE, Ranks
from src.training.schedules import Schedule, make_schedule
from src.training.system import SystemMeter
from src.training.untrained import new_model

LOOK_EVERY = {"cuda": 10.0, "cpu": 0.0}  # seconds between readings of the losses; each reading waits for the GPU
ESTIMATE_AFTER = 5  # steps timed for the estimate of the training time, without the first one
LONG = 30 * 60  # seconds of training on a CPU for which shorter ways are named
WAYS_OUT = (
    "\n  For a shorter run press Ctrl-C, then: python -m recipes laptop, python -m recipes quick or "
    "dvc exp run -S train.epochs=2"
)

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Trained:
    """The model to keep (on the CPU), the epoch of its weights, and one row per epoch."""

    model: nn.Module
    epoch: int
    history: History


def train(
    prepared: Prepared,
    params: Params,
    lr: float,
    device: torch.device,
    precision: Precision,
    checkpoints: Path,
    on_epoch: Callable[[Row], None],
    say: Callable[[str], None],
    ranks: Ranks = ALONE,
) -> Trained:
    """Train the model of `params` on `prepared.train`, or resume from the newest checkpoint in `checkpoints`.

    `lr` is the learning rate, or its peak for onecycle and cosine. This function calls `on_epoch` with the row of each
    epoch that it trains, and `say` with each message for the user. With `train.ema`, the averaged weights are validated
    and kept. Every rank calls this function, and only rank 0 reads and writes checkpoints.

    Raises UserError, on all ranks, if a loss, gradient or weight is not finite.
    """
    settings = params.train
    if len(prepared.train) < ranks.count:
        raise UserError(
            f"{len(prepared.train)} training images are too few for {ranks.count} devices. "
            "Each device needs at least one. Lower train.devices"
        )
    seed_everything(params.seed)
    channels_last = prefers_channels_last(params.norm, device)
    model: nn.Module = new_model(params, len(prepared.classes))
    own_norms = params.norm == "batch" and not settings.sync_batch_norm  # each rank has its own statistics
    if ranks.count > 1 and not own_norms:
        model = over_ranks(model, device)
    model = model.to(device).to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    # Two batch sizes occur, because the last batch of an epoch is smaller. Each gets its own compiled code.
    fast = compiled(model) if settings.compile else model
    forward = ranks.together(FromPixels(fast, prepared, device, precision, channels_last))
    average = Average(model, settings.ema) if settings.ema > 0 else None
    kept_model = average.model if average else model  # the model to validate and to keep
    kept = FromPixels(kept_model, prepared, device, precision, channels_last)

    loader = train_loader(
        prepared.train,
        make_augmenter(params.augment, prepared.size, params.seed),
        batch_size=settings.batch_size,
        seed=params.seed,
        workers=min(settings.workers, max(1, cores() // ranks.here)),
        device=device,
        part=ranks.part,
        fewest=2 * ranks.count if own_norms else 2,
    )
    if slow := slow_way(loader):
        say(slow)
    val_part = ranks.part(len(prepared.val))
    val = to_tensors(Split(prepared.val.images[val_part], prepared.val.labels[val_part]), device)
    class_weights = make_class_weights(params, prepared.train.labels, len(prepared.classes), device)
    optimizer = make_optimizer(model.parameters(), lr, params)
    schedule = make_schedule(optimizer, lr, len(loader) * settings.epochs, params)

    history: History = []
    best: Weights = {}
    state = ranks.from_first(load_latest(checkpoints, say) if ranks.first else None)
    if state is not None:
        model.load_state_dict(state["model"])
        if average:
            average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        restore(state["random"])
        history, best = state["history"], state["best"]
        say(f"resuming after epoch {len(history)} of {settings.epochs}")

    meter = SystemMeter(device)
    estimate = params.device == "auto" and device.type == "cpu"
    while len(history) < settings.epochs and not should_stop(history, settings.early_stopping):
        epoch = len(history) + 1
        start = time.perf_counter()
        set_epoch(loader, epoch)
        row: Row = {"epoch": epoch}
        after_step = partial(average.update, model) if average else None
        row |= train_epoch(
            forward,
            loader,
            optimizer,
            schedule,
            params,
            device,
            epoch,
            say if estimate else None,
            after_step,
            ranks,
            class_weights,
        )
        estimate = False
        train_seconds = time.perf_counter() - start
        ranks.buffers_from_first(model, kept_model)
        row |= validate(kept, val, -(-settings.batch_size // ranks.count), epoch, ranks)
        check_weights(kept_model, epoch)
        row["lr"] = row.pop("lr")  # moved behind the losses: the column order of metrics/history.csv
        row["images_per_second"] = len(prepared.train) / train_seconds
        row["seconds"] = time.perf_counter() - start
        row |= meter.read()
        row = ranks.from_first(row)  # the times differ between ranks
        schedule.after_epoch(row)
        history.append(row)
        if settings.keep == "best" and best_epoch(history) == epoch:
            best = copy.deepcopy(kept_model.state_dict())
        if ranks.first:
            save_checkpoint(checkpoints, epoch, _state(model, average, optimizer, schedule, history, best))
        on_epoch(row)

    if settings.keep == "best":
        kept_model.load_state_dict(best)
    kept_epoch = best_epoch(history) if settings.keep == "best" else len(history)
    return Trained(kept_model.cpu().to(memory_format=torch.contiguous_format), kept_epoch, history)


def train_epoch(
    forward: nn.Module,
    loader: DataLoader[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    params: Params,
    device: torch.device,
    epoch: int,
    say_estimate: Callable[[str], None] | None,
    after_step: Callable[[], None] | None = None,
    ranks: Ranks = ALONE,
    class_weights: torch.Tensor | None = None,
) -> Row:
    """Train for one epoch and return train_loss, train_accuracy and lr, the rate of the last step.

    Loss and accuracy are means over the augmented images of all ranks, each image with the weights of its step. The
    loss is the one that is minimised, with label smoothing and `class_weights` ((K,) on `device`). Class weights do not
    affect the accuracy. Every rank calls this function.

    If a loss or gradient is not finite, the fused optimisers skip the step on the device, because `found_inf` is 1. It
    stays 1, since a skipped first step leaves SGD's momentum undefined. The next reading then raises UserError.
    """
    forward.train()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    bad_steps = torch.zeros((), device=device)
    bad = torch.zeros((), device=device)
    images_seen = 0
    sizes = batch_sizes(loader) if ranks.count > 1 else []
    rates: list[float] = []
    timed_steps = min(ESTIMATE_AFTER, len(loader) - 1)  # not the slow first step, unless it is the only one
    started = looked = shown = time.perf_counter()
    bar = progress(loader, f"epoch {epoch}/{params.train.epochs}", len(loader), ranks.first)
    for step, (images, labels) in enumerate(bar, start=1):
        labels = labels.to(device, non_blocking=True)
        if sizes and len(labels) == 0 and params.norm != "batch":  # a last batch with fewer images than ranks
            logits = forward(images.new_zeros((1, *images.shape[1:])))[:0]  # norms over one image need an image
        else:
            logits = forward(images)  # uint8 (B, S, S, 3) -> float32 (B, classes)
        loss = training_loss(logits, labels, params.train.label_smoothing, class_weights, "sum" if sizes else "mean")
        images_now = sizes[step - 1] if sizes else len(labels)
        if sizes:  # DistributedDataParallel averages gradients over the ranks: this makes it the mean over the batch
            loss = loss * (ranks.count / images_now)
        loss.backward()  # type: ignore[no-untyped-call]
        loss, hits = loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()
        if sizes:
            loss, hits = ranks.total(torch.stack((loss / ranks.count, hits.to(loss.dtype))))
        norm = _clip(parameters, params.train.grad_clip)
        bad = torch.maximum(bad, (~(loss + norm).isfinite()).float())
        bad_steps += bad
        optimizer.found_inf = bad  # type: ignore[attr-defined]  # the interface that torch.amp.GradScaler uses
        rates.append(optimizer.param_groups[0]["lr"])  # before the schedule steps
        optimizer.step()
        optimizer.zero_grad()  # before the next forward pass, so that gradients and activations never share the memory
        schedule.after_batch()
        if after_step is not None:
            after_step()

        loss_sum += loss * images_now
        correct += hits.long()
        images_seen += images_now
        if time.perf_counter() - looked >= LOOK_EVERY[device.type] or step == len(loader):
            looked = time.perf_counter()
            if bad_steps > 0:
                first = step - int(bad_steps)  # counted from 0
                bar.close()
                raise _not_finite(
                    f"the loss or its gradient is not finite in epoch {epoch}, step {first + 1} of {len(loader)} "
                    f"at learning rate {rates[first]:.3g}"
                )
            if ranks.first and time.perf_counter() - shown > bar.mininterval:
                shown = time.perf_counter()
                bar.set_postfix(
                    loss=f"{float(loss_sum) / images_seen:.3f}",
                    accuracy=f"{float(correct) / images_seen:.3f}",
                    refresh=False,
                )
        if say_estimate is not None and step == 1 and timed_steps:
            started = time.perf_counter()
        if say_estimate is not None and step == 1 + timed_steps:
            step_seconds = (time.perf_counter() - started) / max(timed_steps, 1)
            seconds = step_seconds * len(loader) * (params.train.epochs - epoch + 1)
            bar.clear()
            say_estimate(
                f"warning: PyTorch found no CUDA device. Training on the CPU, {hardware_name(device)}, takes about "
                f"{_duration(seconds)} for {params.train.epochs - epoch + 1} epochs, without validation."
                + (WAYS_OUT if seconds > LONG else "")
            )
    return {
        "train_loss": float(loss_sum) / images_seen,
        "train_accuracy": float(correct) / images_seen,
        "lr": rates[-1],
    }


@torch.inference_mode()
def validate(forward: nn.Module, data: Batch, batch_size: int, epoch: int, ranks: Ranks = ALONE) -> Row:
    """Return val_loss and val_accuracy over `data`, without augmentation, label smoothing or class weights.

    `data` is this rank's part of the split, and the results cover all parts. Both are None if there are no images.
    Raises UserError if the loss is not finite.
    """
    images, labels = data
    forward.eval()
    losses, hits = [], []
    starts = range(0, len(labels), batch_size)
    for start in progress(starts, f"epoch {epoch}, validation", len(starts), ranks.first):
        logits = forward(images[start : start + batch_size])
        wanted = labels[start : start + batch_size].to(logits.device, non_blocking=True)
        losses.append(F.cross_entropy(logits, wanted, reduction="sum").double())
        hits.append((logits.argmax(dim=1) == wanted).sum())
    sums = (float(torch.stack(losses).sum()), float(torch.stack(hits).sum())) if losses else (0.0, 0.0)
    loss, correct, count = ranks.total(torch.tensor((*sums, len(labels)), dtype=torch.float64)).tolist()
    if count == 0:
        return {"val_loss": None, "val_accuracy": None}
    loss /= count
    if not math.isfinite(loss):
        raise _not_finite(f"the validation loss is not finite after epoch {epoch}")
    return {"val_loss": loss, "val_accuracy": correct / count}


def check_weights(model: nn.Module, epoch: int) -> None:
    """Raise UserError if a weight or running statistic is not finite. No loss shows the effect of the last step."""
    finite = torch.stack([tensor.isfinite().all() for tensor in model.state_dict().values()])
    if not finite.all():
        raise _not_finite(f"the weights are not finite after epoch {epoch}")


def _clip(parameters: list[nn.Parameter], largest: float) -> torch.Tensor:
    """Return the norm over all gradients. If `largest` is above 0, scale larger gradients down to this norm."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if largest > 0:
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm


def _state(
    model: nn.Module,
    average: Average | None,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    history: History,
    best: Weights,
) -> dict[str, Any]:
    """Everything that the next epoch depends on."""
    return {
        "model": model.state_dict(),
        "average": average.state_dict() if average else None,
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": capture(),
        "history": history,
        "best": best,
    }


def _not_finite(what: str) -> UserError:
    return UserError(
        f"{what}, so training stopped. Checkpoints of earlier epochs are intact. "
        "Lower lr, or try: dvc exp run -S train.grad_clip=1 -S precision=fp32"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
