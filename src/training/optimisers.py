"""Optimisers by name: what `train.optimizer` may be.

Weight decay goes to all parameters, as PyTorch does by default, or with `train.decay_norms: false` to the weights of
convolutions and of the linear layer alone (He et al., "Bag of Tricks", CVPR 2019, https://arxiv.org/abs/1812.01187,
section 3.1). All are the fused ones: one kernel a step, and a step that is skipped on the device itself where
`found_inf` is set (see `loop.py`).
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from src.params import Optimizers, Params

Parameters = Iterable[nn.Parameter]
Groups = list[dict[str, Any]]  # parameters with settings of their own, as PyTorch takes them


def _sgd(groups: Groups, lr: float, weight_decay: float, settings: Optimizers) -> Optimizer:
    own = settings.sgd
    return SGD(groups, lr, momentum=own.momentum, nesterov=own.nesterov, weight_decay=weight_decay, fused=True)


def _adam(groups: Groups, lr: float, weight_decay: float, settings: Optimizers) -> Optimizer:
    own = settings.adam
    return Adam(groups, lr, betas=(own.beta1, own.beta2), eps=own.eps, weight_decay=weight_decay, fused=True)


def _adamw(groups: Groups, lr: float, weight_decay: float, settings: Optimizers) -> Optimizer:
    own = settings.adamw
    return AdamW(groups, lr, betas=(own.beta1, own.beta2), eps=own.eps, weight_decay=weight_decay, fused=True)


OPTIMIZERS: dict[str, Callable[[Groups, float, float, Optimizers], Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
}


def make_optimizer(parameters: Parameters, lr: float, params: Params) -> Optimizer:
    """The optimiser that `params` names, with its settings, at the rate `lr`."""
    settings = params.train
    groups = decay_groups(parameters, settings.decay_norms)
    return OPTIMIZERS[settings.optimizer](groups, lr, settings.weight_decay, params.optimizer)


def decay_groups(parameters: Parameters, decay_norms: bool) -> Groups:
    """All in one group; or, without `decay_norms`, those of one dimension (scales, shifts, biases) without decay."""
    everything = list(parameters)
    if decay_norms:
        return [{"params": everything}]
    groups: Groups = [
        {"params": [p for p in everything if p.ndim > 1]},
        {"params": [p for p in everything if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
