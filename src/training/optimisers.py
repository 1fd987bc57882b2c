"""Optimisers by name, the values of `train.optimizer`.

With `train.decay_norms: true`, weight decay applies to all parameters, as by default in PyTorch. With `false` it only
applies to the weights of the convolutions and the linear layer. See He et al., "Bag of Tricks", CVPR 2019, section 3.1,
https://arxiv.org/abs/1812.01187. All optimisers are fused: they run one kernel per step, and skip a step on the device
if `found_inf` is set (see `loop.py`).
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from src.params import Optimizers, Params

Parameters = Iterable[nn.Parameter]
Groups = list[dict[str, Any]]  # PyTorch's parameter groups


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
    """Make the optimiser of `params` with its settings and the learning rate `lr`."""
    settings = params.train
    groups = decay_groups(parameters, settings.decay_norms)
    return OPTIMIZERS[settings.optimizer](groups, lr, settings.weight_decay, params.optimizer)


def decay_groups(parameters: Parameters, decay_norms: bool) -> Groups:
    """Return one group, or two without `decay_norms`: scales, shifts and biases (one dimension) then have no decay."""
    everything = list(parameters)
    if decay_norms:
        return [{"params": everything}]
    groups: Groups = [
        {"params": [p for p in everything if p.ndim > 1]},
        {"params": [p for p in everything if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
