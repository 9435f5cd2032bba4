"""A learning-rate schedule."""

from rdl_cli.training.lr_schedule import Schedule


def inverse_root(epochs: int, *, warmup: float = 1.0) -> Schedule:
    """Return a rise over `warmup` epochs, then a fall with the root of time."""
    return lambda time: min(time / warmup, (warmup / max(time, warmup)) ** 0.5)
