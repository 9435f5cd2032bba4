"""An optimizer."""

from collections.abc import Iterable

import torch
from torch import nn


def rmsprop(
    parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, *, alpha: float = 0.99
) -> torch.optim.Optimizer:
    """Return PyTorch's RMSprop; `alpha` smooths the mean square of the gradients."""
    return torch.optim.RMSprop(parameters, lr=lr, weight_decay=weight_decay, alpha=alpha)
