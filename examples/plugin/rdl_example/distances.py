"""A distance between representations."""

from torch import Tensor


def manhattan(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference over units, `(n, ...) × (m, ...) -> (n, m)`."""
    x, y = a.flatten(1).float(), b.flatten(1).float()
    return (x[:, None] - y[None]).abs().mean(-1)
