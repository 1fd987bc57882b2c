"""Optimisers by name: what `train.optimizer` may be.

Weight decay goes to all parameters, norms and biases included, as PyTorch does by default. All are the fused ones:
one kernel a step, and a step that is skipped on the device itself where `found_inf` is set (see `loop.py`).
"""

from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from src.params import Optimizers, Params

Parameters = Iterable[nn.Parameter]


def _sgd(parameters: Parameters, lr: float, weight_decay: float, settings: Optimizers) -> Optimizer:
    own = settings.sgd
    return SGD(parameters, lr, momentum=own.momentum, nesterov=own.nesterov, weight_decay=weight_decay, fused=True)


def _adam(parameters: Parameters, lr: float, weight_decay: float, settings: Optimizers) -> Optimizer:
    own = settings.adam
    return Adam(parameters, lr, betas=(own.beta1, own.beta2), eps=own.eps, weight_decay=weight_decay, fused=True)


def _adamw(parameters: Parameters, lr: float, weight_decay: float, settings: Optimizers) -> Optimizer:
    own = settings.adamw
    return AdamW(parameters, lr, betas=(own.beta1, own.beta2), eps=own.eps, weight_decay=weight_decay, fused=True)


OPTIMIZERS: dict[str, Callable[[Parameters, float, float, Optimizers], Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
}


def make_optimizer(parameters: Parameters, lr: float, params: Params) -> Optimizer:
    """The optimiser that `params` names, with its settings, at the rate `lr`."""
    return OPTIMIZERS[params.train.optimizer](parameters, lr, params.train.weight_decay, params.optimizer)
