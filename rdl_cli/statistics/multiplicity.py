"""p-values corrected for the number of tests."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's adjusted p-values (1979), in the given order and at most 1.

    The chance of any false positive stays at the level, for tests of any dependence.

    Args:
        p: (m,) p-values. Leave out a comparison planned as primary: it needs no correction.

    Example:
        >>> holm([0.04, 0.01, 0.03, 0.005]).tolist()
        [0.06, 0.03, 0.06, 0.02]
    """
    x = np.asarray(p, dtype=float)
    assert x.ndim == 1 and ((x >= 0) & (x <= 1)).all(), f"{x} are no p-values"
    order = np.argsort(x, kind="stable")
    adjusted = np.empty_like(x)
    adjusted[order] = np.maximum.accumulate(x[order] * np.arange(len(x), 0, -1))
    return np.minimum(adjusted, 1)
