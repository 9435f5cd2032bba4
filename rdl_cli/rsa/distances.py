"""Distances between representations: one function per distance, `(n d) × (m d) -> (n m)`.

Batches, sampled pairs and whole RDMs are all cut from these functions. Each one flattens its
stimuli's units and computes in float32 at least (float64 stays float64), with autocast off. It is
zero for identical rows. Its gradients are finite everywhere, also for identical rows and for rows
without a direction (all zeros, all one value).
"""

import math

import torch
from jaxtyping import Float, Num
from torch import Tensor

from rdl_cli.core.registry import Registry

DISTANCES = Registry("distance", home="rdl_cli.rsa.distances")
"""Members are `function(a, b) -> distances`.

The two arguments may be the same tensor, and b may have no gradient."""


@DISTANCES.register("sqeuclidean")
def sqeuclidean(a: Num[Tensor, "n *units"], b: Num[Tensor, "m *units"]) -> Float[Tensor, "n m"]:
    """Return the sum of squared differences: Σ_k (a_k - b_k)².

    Convention A: the factor 8 of Eq. 3 of McClure & Kriegeskorte 2016 (arXiv 1511.03979).

    Args:
        a, b: representations of n and m stimuli.

    Returns:
        Distances of every stimulus of a to every stimulus of b.

    Raises:
        AssertionError: a and b have different units.

    Example:
        >>> sqeuclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[25.0, 0.0]]
    """
    x, y = _flatten_both(a, b)
    with torch.autocast(x.device.type, enabled=False):
        # same distances around any point; around 0 float32 is wrong by 9 x for features 50 ± 0.01
        shift = (x.mean(0) if x is y else (x.sum(0) + y.sum(0)) / (len(x) + len(y))).detach()
        x, y = (x - shift,) * 2 if x is y else (x - shift, y - shift)
        gram = x @ y.T
        if x is y:
            gram = (gram + gram.T) / 2  # a float64 product is asymmetric by 2e-15
            norms = (gram.diagonal()[:, None], gram.diagonal()[None])
        else:
            norms = (x.square().sum(1)[:, None], y.square().sum(1)[None])
        total = norms[0] + norms[1]
        squares = total - 2 * gram
        noise = _gram_rounding(x) * total.detach()
        return torch.where(squares <= noise, 0, squares)  # NaN stays NaN


@DISTANCES.register("mse")
def mse(a: Num[Tensor, "n *units"], b: Num[Tensor, "m *units"]) -> Float[Tensor, "n m"]:
    """Return the mean of squared differences over the units: the paper's distance, the default.

    Convention B: the gradient of Eq. 2 of McClure & Kriegeskorte 2016, without the 8 of Eq. 3.

    Args:
        a, b: representations of n and m stimuli.

    Example:
        >>> mse(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])).tolist()
        [[12.5]]
    """
    return sqeuclidean(a, b) / math.prod(a.shape[1:])


@DISTANCES.register("euclidean")
def euclidean(a: Num[Tensor, "n *units"], b: Num[Tensor, "m *units"]) -> Float[Tensor, "n m"]:
    """Return the Euclidean distance, as in the RDMs of Fig. 3 of McClure & Kriegeskorte 2016.

    Args:
        a, b: representations of n and m stimuli.

    Example:
        >>> euclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])).tolist()
        [[5.0]]
    """
    return safe_sqrt(sqeuclidean(a, b))


@DISTANCES.register("cosine")
def cosine(a: Num[Tensor, "n *units"], b: Num[Tensor, "m *units"]) -> Float[Tensor, "n m"]:
    """Return one minus the cosine of the angle: half the squared distance of the unit rows.

    A row of zeros (dead ReLUs) has no direction: it is 0 from another row of zeros and ½ from any
    other row.

    Args:
        a, b: representations of n and m stimuli.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
        >>> cosine(rows[:1], rows).round().tolist()
        [[0.0, 0.0, 1.0]]
    """
    x, y = _flatten_both(a, b)
    return _one_minus_cosine(x, y, x, y)


@DISTANCES.register("correlation")
def correlation(a: Num[Tensor, "n *units"], b: Num[Tensor, "m *units"]) -> Float[Tensor, "n m"]:
    """Return one minus Pearson's r: the cosine distance of rows minus their means.

    A constant row counts as a row of zeros.

    Args:
        a, b: representations of n and m stimuli.

    Example:
        >>> rows = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], dtype=torch.float64)
        >>> correlation(rows, rows).round(decimals=6).tolist()
        [[0.0, 2.0], [2.0, 0.0]]
    """
    x, y = _flatten_both(a, b)
    centered = [center(side, 1) for side in ((x,) if x is y else (x, y))]
    return _one_minus_cosine(centered[0], centered[-1], x, y)


def flatten_rows(reps: Num[Tensor, "n *units"]) -> Float[Tensor, "n d"]:
    """Return representations as `n d`, in float32 at least; float64 stays float64.

    Example:
        >>> flatten_rows(torch.ones(2, 3, 4, dtype=torch.float16)).shape
        torch.Size([2, 12])
    """
    return reps.reshape(len(reps), math.prod(reps.shape[1:])).to(
        torch.promote_types(reps.dtype, torch.float32)
    )


def safe_sqrt(squares: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the square root, with gradient 0 at 0; negative rounding errors become 0.

    Example:
        >>> safe_sqrt(torch.tensor([4.0, 0.0, -1e-9])).tolist()
        [2.0, 0.0, 0.0]
    """
    positive = squares > 0
    # the slope at 0 is infinite, and `where` after the root passes its NaN: take no root there
    return torch.where(positive, torch.where(positive, squares, 1).sqrt(), 0)


def clamp_norms(squares: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return squared lengths, none below a millionth of their mean, so that 1/length is bounded.

    The largest entry of the vectors must be about 1.
    """
    return squares.clamp_min(1e-6 * squares.mean().detach().clamp_min(1e-12))


def subtract_mean(x: Tensor, mean: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Return x minus a given mean; exactly 0 along `dim` if only rounding noise remains.

    Otherwise a later division by the standard deviation would scale the noise up.
    """
    centered = x - mean
    noise = 4 * torch.finfo(x.dtype).eps * x.detach().abs().amax(dim, keepdim=True)
    is_noise = centered.detach().abs().amax(dim, keepdim=True) <= noise  # False for NaN
    return torch.where(is_noise, 0, centered)


def center(x: Tensor, dim: int) -> Tensor:
    """Return x minus its mean along `dim`.

    The mean is subtracted twice: in float32 that of 50 ± 0.01 is off by a thousandth of the 0.01.
    """
    centered = subtract_mean(x, x.mean(dim, keepdim=True), dim)
    return centered - centered.mean(dim, keepdim=True)


def _flatten_both(
    a: Num[Tensor, "n *units"], b: Num[Tensor, "m *units"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Return both sides flat and of one dtype; the same tensor twice stays the same twice."""
    assert a.shape[1:] == b.shape[1:], (
        f"representations of shapes {tuple(a.shape[1:])} and {tuple(b.shape[1:])} have no distance"
    )
    x, y = (flatten_rows(a),) * 2 if a is b else (flatten_rows(a), flatten_rows(b))
    return (x, y) if x.dtype == y.dtype else (x.double(), y.double())


def _gram_rounding(x: Float[Tensor, "n d"]) -> float:
    """Return the largest rounding error of |x|² + |y|² - 2xy over |x|² + |y|².

    Smaller values are noise that ranks would read. Measured for identical rows of 30,000 units: up
    to 4.3 eps in float32 and 87 eps in float64.
    """
    return torch.finfo(x.dtype).eps * (
        16 + (math.sqrt(x.shape[1]) if x.dtype == torch.float64 else 0)
    )


def _one_minus_cosine(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    raw_x: Float[Tensor, "n d"],
    raw_y: Float[Tensor, "m d"],
) -> Float[Tensor, "n m"]:
    """Return half the squared distance of unit rows; 0 for rounding noise of the raw rows.

    Without the 0 ranks would read 30 collinear patterns, whose distances are 1e-32, as a geometry.
    """
    units = [_normalize_rows(side) for side in ((x,) if x is y else (x, y))]
    distances = sqeuclidean(units[0], units[-1]) / 2
    with torch.no_grad():
        noise = [_rounding_noise(side, raw) for side, raw in ((x, raw_x), (y, raw_y))]
        is_noise = distances <= noise[0][:, None] + noise[1]
    return torch.where(is_noise, 0, distances)


def _rounding_noise(x: Float[Tensor, "n d"], raw: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return the squared rounding error of each row's direction: that of its data, and of ours.

    Data in float64 that float32 holds exactly was float32 before.
    """
    eps = torch.finfo(raw.dtype).eps
    if raw.dtype == torch.float64 and torch.equal(raw.float().double(), raw):
        eps = torch.finfo(torch.float32).eps
    norms = x.square().sum(1)
    amplification = raw.square().sum(1) / torch.where(norms > 0, norms, 1)
    return eps**2 * torch.where(norms > 0, amplification / 4 + 2, 0)


def _normalize_rows(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return rows of length 1.

    A row shorter than a thousandth of the usual stays shorter, which bounds its gradient.
    """
    if len(x):
        # squares of 1e-13 tesla have no slope in float32
        x = x / x.detach().abs().amax().clamp_min(torch.finfo(x.dtype).tiny)
    return x * clamp_norms(x.square().sum(1, keepdim=True)).rsqrt()
