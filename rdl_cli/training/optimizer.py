"""Optimizers by name, and the layers that they leave as they are."""

import inspect
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.patterns import select_names
from rdl_cli.core.registry import Registry

OPTIMIZERS = Registry("optimizer", home="rdl_cli.training.optimizer")
"""A member is `function(parameters, lr, weight_decay, *, options) -> torch.optim.Optimizer`.

One with an option `momentum` gets that of --momentum by default.
"""


@OPTIMIZERS.register("sgd")
def sgd(
    parameters: Iterable[nn.Parameter],
    lr: float,
    weight_decay: float,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum."""
    return torch.optim.SGD(
        parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
    )


@OPTIMIZERS.register("adamw")
def adamw(
    parameters: Iterable[nn.Parameter],
    lr: float,
    weight_decay: float,
    *,
    betas: str = "0.9/0.999",
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay; `betas=0.9/0.95`."""
    try:
        first, second = (float(number) for number in betas.split("/"))
    except ValueError:
        raise UserError(f"`betas={betas}` is not two numbers", hint="betas=0.9/0.95") from None
    return torch.optim.AdamW(
        parameters, lr=lr, betas=(first, second), eps=eps, weight_decay=weight_decay
    )


def make_optimizer(
    spec: str, parameters: Sequence[nn.Parameter], lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """Return the optimizer that a spec names, for example `adamw:betas=0.9/0.95`.

    UserError if it refuses its options.
    """
    factory = OPTIMIZERS.find(spec)
    bound = getattr(factory, "keywords", {})
    try:
        takes_momentum = "momentum" in inspect.signature(factory).parameters
        default = takes_momentum and "momentum" not in bound
        keywords = {"momentum": momentum} if default else {}
        optimizer = factory(parameters, lr, weight_decay=weight_decay, **keywords)
    except (ValueError, TypeError) as error:
        raise UserError(f"the optimizer `{spec}` cannot be made: {error}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UserError(f"`{spec}` made a {type(optimizer).__name__}, not an optimizer")
    return optimizer


def freeze_layers(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Stop the training of the modules that names and globs match; return their names.

    UserError if a pattern matches none.
    """
    names = [name for name, _ in network.named_modules() if name]
    frozen = select_names(patterns, names, "module of the student") if patterns else []
    for name in frozen:
        network.get_submodule(name).requires_grad_(False)
    return frozen
