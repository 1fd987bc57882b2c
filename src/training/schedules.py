"""Learning-rate schedules by name, the values of `train.schedule`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from src.params import Params, Schedules


@dataclass(frozen=True)
class Schedule:
    """A PyTorch scheduler that steps after every batch, or after every epoch if it monitors a metric."""

    scheduler: LRScheduler
    monitor: str | None = None  # val_loss or val_accuracy; None: step after every batch

    def after_batch(self) -> None:
        """Step the scheduler, if it steps per batch.

        Call it after the optimiser's step, and after reading the rate of that step. After its last step, OneCycle's
        rate is negative.
        """
        if self.monitor is None:
            self.scheduler.step()

    def after_epoch(self, row: Mapping[str, float | None]) -> None:
        """Step the scheduler with the epoch's row of the history, if it steps per epoch."""
        if isinstance(self.scheduler, ReduceLROnPlateau) and self.monitor is not None:
            value = row[self.monitor]
            if value is None:
                raise ValueError(f"the schedule needs {self.monitor}, which is None")
            self.scheduler.step(value)

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the scheduler's state."""
        self.scheduler.load_state_dict(state)


def _onecycle(optimizer: Optimizer, lr: float, steps: int, settings: Schedules) -> Schedule:
    """Rise to the peak `lr` and fall once.

    Smith & Topin, "Super-Convergence", 2018, https://arxiv.org/abs/1708.07120
    """
    own = settings.onecycle
    steps = max(steps, 2)
    # PyTorch divides by zero if the rise has exactly one step. Slightly more than one step avoids this.
    pct_start = max(own.pct_start, (1 + 1e-9) / steps)
    return Schedule(
        OneCycleLR(
            optimizer,
            max_lr=lr,
            total_steps=steps,
            pct_start=pct_start,
            anneal_strategy=own.anneal,
            cycle_momentum=own.cycle_momentum,
            base_momentum=own.base_momentum,
            max_momentum=own.max_momentum,
            div_factor=own.div,
            final_div_factor=own.final_div,
        )
    )


def _plateau(optimizer: Optimizer, lr: float, steps: int, settings: Schedules) -> Schedule:
    """Start at `lr` and multiply the rate by `factor` when the monitored metric stops improving."""
    own = settings.plateau
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode="min" if own.monitor == "loss" else "max",
        factor=own.factor,
        patience=own.patience,
        threshold=own.threshold,
        threshold_mode=own.threshold_mode,
    )
    return Schedule(scheduler, monitor=f"val_{own.monitor}")


def _cosine(optimizer: Optimizer, lr: float, steps: int, settings: Schedules) -> Schedule:
    """Warm up to `lr`, then follow half a cosine down to zero, without restarts.

    Loshchilov & Hutter, "SGDR", 2017, https://arxiv.org/abs/1608.03983
    """
    warmup = round(settings.cosine.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

    return Schedule(LambdaLR(optimizer, factor))


def _constant(optimizer: Optimizer, lr: float, steps: int, settings: Schedules) -> Schedule:
    """Constant `lr` after the warm-up."""
    warmup = round(settings.constant.warmup * steps)
    return Schedule(LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (warmup + 1))))


SCHEDULES: dict[str, Callable[[Optimizer, float, int, Schedules], Schedule]] = {
    "onecycle": _onecycle,
    "plateau": _plateau,
    "cosine": _cosine,
    "constant": _constant,
}


def make_schedule(optimizer: Optimizer, lr: float, steps: int, params: Params) -> Schedule:
    """Make the schedule of `params` for a training of `steps` batches. The optimiser must have the rate `lr`."""
    return SCHEDULES[params.train.schedule](optimizer, lr, steps, params.schedule)
