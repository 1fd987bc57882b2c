"""Learning-rate range test on a copy of the model: `dvc repro lr_range`."""

import time

from src import artifacts, results
from src.data.prepared import load
from src.figures.lr_range import lr_range_figure
from src.figures.style import save
from src.model.device import resolve_device, resolve_precision
from src.params import Params
from src.runtime.run import run_stage
from src.runtime.slots import compute_turn
from src.training.lr_range import choose_rate, suggestions, sweep


def main(params: Params) -> None:
    """data/prepared -> models/lr.json, metrics/lr_range.*, figures/lr_range"""
    prepared = load()
    device = resolve_device(params.device)
    with compute_turn(device):
        start = time.perf_counter()
        swept = sweep(prepared, params, device, resolve_precision(params.precision, device))
        seconds = time.perf_counter() - start

    found = suggestions(swept)
    lr = choose_rate(swept, params) if params.lr == "auto" else params.lr
    lrs, losses, smoothed = swept.lrs.tolist(), swept.losses.tolist(), swept.smoothed.tolist()
    results.RangeStep.write_all(
        [
            results.RangeStep(lr=rate, loss=loss, smoothed=mean)
            for rate, loss, mean in zip(lrs, losses, smoothed, strict=True)
        ]
    )
    results.RangeTest(
        suggestions=found,
        suggestion=params.lr_range.suggestion,
        lr=lr,
        last_lr=lrs[-1],
        iterations=len(lrs),
        seconds=seconds,
    ).write()
    save(lr_range_figure(lrs, losses, smoothed, found, lr), artifacts.FIGURES / "lr_range" / "lr_range.png")
    results.LearningRate(lr=lr).write()
    print(f"suggested rates: {', '.join(f'{name} {rate:.2g}' for name, rate in found.items())}. Training uses {lr:g}")


if __name__ == "__main__":
    run_stage(main)
