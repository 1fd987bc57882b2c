"""Which parameters decay."""

import pytest
import torch
from torch import nn

from src.model.resnet import build
from src.training.optimisers import OPTIMIZERS, decay_groups, make_optimizer
from tests.unit.training_helpers import make_params


def test_decay_goes_to_all_or_to_weights_alone() -> None:
    model = build("batch", 4, [1, 2, 2, 2], 3)
    (everything,) = decay_groups(model.parameters(), decay_norms=True)
    assert everything.keys() == {"params"}
    assert len(everything["params"]) == len(list(model.parameters()))
    weights, rest = decay_groups(model.parameters(), decay_norms=False)
    convolutions_and_linear = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [id(p) for p in weights["params"]] == [id(p) for p in convolutions_and_linear]
    assert rest["weight_decay"] == 0
    assert len(rest["params"]) == 2 * 20 + 1  # scale and shift of 20 norms, bias of the linear layer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_without_gradient_moves_only_what_decays(name: str) -> None:
    """Without a gradient only the decay moves a parameter."""
    matrix, scale = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    params = make_params(**{"train.optimizer": name, "train.weight_decay": 0.5, "train.decay_norms": False})
    optimizer = make_optimizer([scale, matrix], 0.1, params)
    matrix.grad, scale.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert (matrix < 1).all()
    assert scale.tolist() == [1, 1]


def test_parameters_of_one_kind_make_one_group() -> None:
    (group,) = decay_groups([nn.Parameter(torch.ones(2))], decay_norms=False)
    assert group["weight_decay"] == 0
