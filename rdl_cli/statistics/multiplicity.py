"""p-values of a whole table, corrected for how many there are. Each function gives them in the order they came, at most 1."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted so that the chance of one false discovery in the table is kept (Holm 1979), whatever the dependence."""
    x, order = _sorted(p)
    return _unsorted(np.maximum.accumulate(x * np.arange(len(x), 0, -1)), order)


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted so that the expected share of false discoveries is kept (1995), for tests that are independent or go together."""
    x, order = _sorted(p)
    return _unsorted(np.minimum.accumulate((x * len(x) / np.arange(1, len(x) + 1))[::-1])[::-1], order)


def benjamini_yekutieli(p: ArrayLike) -> NDArray[np.float64]:
    """The share of false discoveries kept under any dependence (2001): Benjamini-Hochberg times 1 + 1/2 + ... + 1/m."""
    x, order = _sorted(p)
    factor = (1 / np.arange(1, len(x) + 1)).sum()
    return _unsorted(np.minimum.accumulate((x * factor * len(x) / np.arange(1, len(x) + 1))[::-1])[::-1], order)


def _sorted(p: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    x = np.asarray(p, dtype=float)
    assert x.ndim == 1 and ((x >= 0) & (x <= 1)).all(), f"{x} are no p-values"
    order = np.argsort(x, kind="stable")
    return x[order], order


def _unsorted(x: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    back = np.empty_like(x)
    back[order] = np.minimum(x, 1)
    return back
