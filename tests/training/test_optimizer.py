"""Optimizers by name beside torch's own, and frozen layers."""

import pytest
import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.training.optimizer import OPTIMIZERS, freeze_layers, make_optimizer
from rdl_cli.training.student import StudentModule


def train(make) -> torch.Tensor:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer, images = make(list(model.parameters())), torch.rand(7, 5)
    for _ in range(5):
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()
    return model.weight.detach()


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.7, weight_decay=0.1)),
        (
            "sgd:momentum=0.5,nesterov=true",
            lambda p: torch.optim.SGD(p, 0.02, 0.5, weight_decay=0.1, nesterov=True),
        ),
        (
            "adamw:betas=0.8/0.95",
            lambda p: torch.optim.AdamW(p, 0.02, (0.8, 0.95), weight_decay=0.1),
        ),
        ("torch.optim:Adagrad", lambda p: torch.optim.Adagrad(p, 0.02, weight_decay=0.1)),
    ],
)
def test_make_optimizer_equals_that_of_torch(spec, reference):
    own = train(lambda parameters: make_optimizer(spec, parameters, 0.02, 0.1, 0.7))
    assert torch.equal(own, train(reference))


@pytest.mark.parametrize(
    ("spec", "fact"),
    [
        ("adam", "did you mean `adamw`"),
        ("adamw:betas=0.9", "is not two numbers"),
        ("adamw:betas=0.9/2", "cannot be made"),
        ("torch:ones", "cannot be made"),
    ],
)
def test_make_optimizer_refuses_wrong_specs(spec, fact):
    with pytest.raises(UserError, match=fact):
        make_optimizer(spec, list(nn.Linear(2, 2).parameters()), 0.1, 0.0, 0.9)
    assert list(OPTIMIZERS) == ["adamw", "sgd"]


def test_freeze_layers_keeps_weights_and_statistics():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))
    frozen = freeze_layers(network, ["0", "1*"])
    assert frozen == ["0", "1"]
    module = StudentModule(network, [], frozen=frozen).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = make_optimizer("adamw", parameters, 0.1, 0.1, 0.9)
    network(torch.rand(4, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    changed = [
        n for n, tensor in network.state_dict().items() if not torch.equal(tensor, before[n])
    ]
    assert changed == ["3.weight", "3.bias"]
    with pytest.raises(UserError, match="there is no module of the student `9`"):
        freeze_layers(network, ["9"])
