"""How far apart two representations are: one function per distance, `(n d) x (m d) -> (n m)`.

Batches, sampled pairs and whole RDMs are all cut from these functions. Every member flattens `n ...`, computes in float32 at
least (float64 stays float64) with autocast off, is zero for identical rows, and has finite gradients everywhere, identical rows
and rows without a direction (all zeros, all one value) included.
"""

import math

import torch
from torch import Tensor

from rdl_cli.core.registry import Registry
from rdl_cli.core.tensor_types import Distances, Reps

DISTANCES = Registry("distance", home="rdl_cli.rsa.distances")
"""A member is `function(a: Reps, b: Reps) -> Distances`; it may be handed the same tensor twice, or `b` without a gradient."""


@DISTANCES.register("sqeuclidean")
def sqeuclidean(a: Reps, b: Reps) -> Distances:
    """Sum of squared differences (convention A: the factor 8 of Eq. 3 of McClure & Kriegeskorte 2016)."""
    x, y = _rows(a, b)
    with torch.autocast(x.device.type, enabled=False):
        # the same distances around any point; around 0 float32 is wrong by 9 x for features 50 ± 0.01
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
        return torch.where(squares <= _rounding(x) * total.detach(), 0, squares)  # NaN stays NaN


@DISTANCES.register("mse")
def mse(a: Reps, b: Reps) -> Distances:
    """Mean of squared differences: squared Euclidean over the number of units (convention B, the paper's and the default)."""
    return sqeuclidean(a, b) / math.prod(a.shape[1:])


@DISTANCES.register("euclidean")
def euclidean(a: Reps, b: Reps) -> Distances:
    """Euclidean distance, as in the RDMs of Fig. 3 of McClure & Kriegeskorte 2016."""
    return safe_sqrt(sqeuclidean(a, b))


@DISTANCES.register("cosine")
def cosine(a: Reps, b: Reps) -> Distances:
    """One minus the cosine of the angle between rows, as half the squared distance of the unit rows.

    A row of zeros (dead ReLUs) has no direction: it is 0 from another row of zeros and ½ from any other.
    """
    x, y = _rows(a, b)
    units = [_unit(each) for each in ((x,) if x is y else (x, y))]
    return sqeuclidean(units[0], units[-1]) / 2


@DISTANCES.register("correlation")
def correlation(a: Reps, b: Reps) -> Distances:
    """One minus Pearson's r between rows: the cosine distance of rows without their means. A constant row counts as zeros."""
    x, y = _rows(a, b)
    centred = [center(each, 1) for each in ((x,) if x is y else (x, y))]
    return cosine(centred[0], centred[-1])


def rows(reps: Reps) -> Tensor:
    """Representations as `n d`, in float32 at least: half precision and integers are widened, float64 stays."""
    return reps.reshape(len(reps), math.prod(reps.shape[1:])).to(
        torch.promote_types(reps.dtype, torch.float32)
    )


def safe_sqrt(squares: Tensor) -> Tensor:
    """The square root, with a gradient of 0 at 0; 0 for what rounding left below."""
    positive = squares > 0
    # a root of 0 has an infinite slope, and `where` after the root lets its NaN through: so none is taken
    return torch.where(positive, torch.where(positive, squares, 1).sqrt(), 0)


def _rows(a: Reps, b: Reps) -> tuple[Tensor, Tensor]:
    """Both sides as `n d` and `m d` of one dtype; the same tensor twice stays the same tensor twice."""
    assert a.shape[1:] == b.shape[1:], (
        f"representations of shapes {tuple(a.shape[1:])} and {tuple(b.shape[1:])} have no distance"
    )
    x, y = (rows(a),) * 2 if a is b else (rows(a), rows(b))
    return (x, y) if x.dtype == y.dtype else (x.double(), y.double())


def _rounding(x: Tensor) -> float:
    """What |x|² + |y|² - 2xy of identical rows may be, over |x|² + |y|²: less than this is noise that ranks would read.

    Measured: up to 4.3 eps in float32 and 87 eps in float64, both at 30,000 units.
    """
    return torch.finfo(x.dtype).eps * (
        16 + (math.sqrt(x.shape[1]) if x.dtype == torch.float64 else 0)
    )


def _unit(x: Tensor) -> Tensor:
    """Rows of length one; a row shorter than a thousandth of the usual stays shorter, which bounds its gradient."""
    if len(x):
        x = x / x.detach().abs().amax().clamp_min(
            torch.finfo(x.dtype).tiny
        )  # squares of 1e-13 tesla have no slope in float32
    return x * clamp_norms(x.square().sum(1, keepdim=True)).rsqrt()


def clamp_norms(squares: Tensor) -> Tensor:
    """Squared lengths, where the largest entry is about 1: none is below a millionth of their mean, so that one over it is bounded."""
    return squares.clamp_min(1e-6 * squares.mean().detach().clamp_min(1e-12))


def subtract_mean(x: Tensor, mean: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """x minus a mean of its own; exactly zero along `dim` where nothing but rounding is left, so that nobody scales noise up."""
    away = x - mean
    noise = 4 * torch.finfo(x.dtype).eps * x.detach().abs().amax(dim, keepdim=True)
    return torch.where(away.detach().abs().amax(dim, keepdim=True) > noise, away, 0)


def center(x: Tensor, dim: int) -> Tensor:
    """x minus its mean along `dim`, twice: in float32 the mean of 50 ± 0.01 is off by a thousandth of the 0.01."""
    away = subtract_mean(x, x.mean(dim, keepdim=True), dim)
    return away - away.mean(dim, keepdim=True)
