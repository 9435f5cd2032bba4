"""How the learning rate moves: a factor for every moment of training, time counted in epochs."""

import math
from collections.abc import Callable

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry

SCHEDULES = Registry("schedule", home="rdl_cli.training.lr_schedule")
"""A member is `function(epochs: int, *, options) -> Callable[[float], float]`: time in epochs, 0 to `epochs`, to the rate's factor."""

Schedule = Callable[[float], float]


@SCHEDULES.register("constant")
def constant(epochs: int) -> Schedule:
    """The same rate throughout."""
    return lambda time: 1.0


@SCHEDULES.register("cosine")
def cosine(epochs: int, *, warmup: float = 0.0) -> Schedule:
    """Half a cosine from 1 to 0, after a linear rise over `warmup` epochs."""
    if not 0 <= warmup < epochs:
        raise UserError(f"`cosine:warmup={warmup}` does not fit into {epochs} epochs")
    return lambda time: (
        time / warmup
        if time < warmup
        else 0.5 * (1 + math.cos(math.pi * (time - warmup) / (epochs - warmup)))
    )


@SCHEDULES.register("linear")
def linear(epochs: int) -> Schedule:
    """A straight line from 1 to 0."""
    return lambda time: 1 - time / epochs


@SCHEDULES.register("halve")
def halve(epochs: int, *, every: int = 25) -> Schedule:
    """Half the rate from each epoch on whose number, counted from 1, is a multiple of `every` (the paper's CIFAR networks: 25).

    So the first rate lasts for `every` - 1 epochs, and each after it for `every`.
    """
    if every < 2:
        hint = "1 would begin at half the rate" if every == 1 else None
        raise UserError(
            f"`halve:every={every}` is no number of epochs to halve the rate at; at least 2 is needed",
            hint=hint,
        )
    return lambda time: 0.5 ** (int(time + 1) // every)
