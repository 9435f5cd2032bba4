"""Learning-rate schedules: a factor on the rate for every time, counted in epochs."""

import math
from collections.abc import Callable

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry

SCHEDULES = Registry("schedule", home="rdl_cli.training.lr_schedule")
"""A member is `function(epochs: int, *, options) -> Schedule`."""

Schedule = Callable[[float], float]
"""Time in epochs, from 0 to `epochs`, to the factor on the learning rate."""


@SCHEDULES.register("constant")
def constant(epochs: int) -> Schedule:
    """A constant rate."""
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
    """Half the rate at each epoch, counted from 1, that is a multiple of `every`.

    The first rate lasts `every` - 1 epochs, each later one `every`. The paper's CIFAR networks
    use 25.
    """
    if every < 2:
        raise UserError(
            f"`halve:every={every}` is not a period; it must be at least 2",
            hint="1 would begin at half the rate" if every == 1 else None,
        )
    return lambda time: 0.5 ** (int(time + 1) // every)
