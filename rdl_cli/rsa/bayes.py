"""Bayesian comparisons: how well one could tell two representations apart from what linear readouts of them would say.

A readout with random weights and noise gives all n stimuli jointly y ~ N(0, Σ), Σ = (1-a) K n/tr(K) + a I (Schütt 2024,
arXiv 2411.08739). Two representations are as far apart as their two distributions of y. Values of different n, b or a can't be
compared: show `settings` with each.

Everything here depends on the two Σ only through the axes on which both are diagonal, so draws cost n numbers each instead of n²
(the samples of the paper's method, turned), and gradients pass through the draws (pathwise; detaching them is wrong: -.203 for
-.235). In float64.
"""

import inspect
import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Scalar
from rdl_cli.rsa.distances import safe_sqrt
from rdl_cli.rsa.kernels import Centring, Kernel, center_kernel
from rdl_cli.rsa.measures import Measure, MeasureTraits, measure

Covariance = Annotated[Tensor, "n n"]
Scales = Annotated[Tensor, "n"]
Ratios = Annotated[Tensor, "2 N"]


def prior_variance_share(n: int, b: float, a: float | None) -> float:
    """a, the noise's share of the variance: as given, or nb/(1+nb), where nb is noise over signal. UserError where it leaves no room."""
    if a is None and not b > 0:
        raise UserError(
            f"the noise's variance over the signal's is b={b:g}; it lies above 0",
            hint="b=0.01 is the paper's choice",
        )
    share = n * b / (1 + n * b) if a is None else a
    if not 1e-6 <= share < 1:
        given = f"b={b:g} with {n:,} stimuli gives" if a is None else "the option gives"
        raise UserError(
            f"the noise's share a of the variance lies in [1e-6, 1); {given} a={share:g}",
            hint="b=0.01 is the paper's choice",
        )
    return share


def check_samples(samples: int) -> None:
    """UserError where there is no draw to take a mean over."""
    if samples < 1:
        raise UserError(
            f"samples={samples} draws tell nothing; at least 1 is needed",
            hint="10,000 are usual to measure, 256 to train",
        )


def prior_variance(
    kernel: Kernel, *, b: float = 0.01, a: float | None = None, center: Centring = "none"
) -> Covariance:
    """Σ, the covariance of what readouts say of the stimuli, with trace n.

    `stimuli` centres the kernel; `features` must have been centred in `kernel(reps, "features")`, for a kernel knows no units.
    """
    n = len(kernel)
    share = prior_variance_share(n, b, a)
    k = center_kernel(kernel.double()) if center == "stimuli" else kernel.double()
    trace = k.diagonal().sum()
    signal = k * torch.where(trace > 0, n / torch.where(trace > 0, trace, 1), 0)
    return (1 - share) * signal + share * torch.eye(n, dtype=k.dtype, device=k.device)


def log_scales(p: Covariance, q: Covariance) -> Scales:
    """log(sd under p / sd under q) along each axis on which both are diagonal.

    As atanh of the eigenvalues of (p - q)/(p + q), which are in (-1, 1) and equally exact for both ends; all 0 for p = q.
    """
    root = torch.linalg.cholesky((p + q) / 2)
    half = torch.linalg.solve_triangular(root, (p - q) / 2, upper=False)
    ratio = torch.linalg.solve_triangular(root, half.mT, upper=False)
    return torch.linalg.eigvalsh((ratio + ratio.mT) / 2).atanh()


def log_ratios(scales: Scales, samples: int, generator: torch.Generator) -> Ratios:
    """log p(y)/q(y) of draws of y from p (first row) and from q (second row)."""
    gains = torch.stack([torch.expm1(2 * scales), -torch.expm1(-2 * scales)]) / 2
    at_once = max(1, 2**22 // len(scales))  # 64 MB of draws, however many are asked for
    found = []
    for start in range(0, samples, at_once):
        shape = (2, min(at_once, samples - start), len(scales))
        draws = torch.randn(
            shape, generator=generator, device=generator.device, dtype=scales.dtype
        ).to(scales.device)
        found.append((draws.square() @ gains[:, :, None]).squeeze(-1) - scales.sum())
    return torch.cat(found, 1)


def total_variation(ratios: Ratios, *, reference: bool = False) -> Scalar:
    """½∫|p - q|: the best possible accuracy of telling p from q by one draw is (1 + TV)/2."""
    if reference:
        return (
            F.relu(-torch.expm1(-ratios[0])).mean() + F.relu(-torch.expm1(ratios[1])).mean()
        ) / 2
    return torch.tanh(ratios / 2).abs().mean()


def divergence(ratios: Ratios, *, reference: bool = False) -> Scalar:
    """Jensen-Shannon divergence in bits: what one draw tells about whether it came from p or from q.

    Not the reference: the entropy of that guess, whose standard deviation is less than half and which is never negative.
    """
    if reference:
        return 1 + (F.logsigmoid(ratios[0]).mean() + F.logsigmoid(-ratios[1]).mean()) / (
            2 * math.log(2)
        )
    return 1 - (F.softplus(ratios) - ratios * torch.sigmoid(ratios)).mean() / math.log(2)


def symmetric_kl(scales: Scales) -> Scalar:
    """Mean of the two Kullback-Leibler divergences in nats, exactly: ¼[tr Σq⁻¹Σp + tr Σp⁻¹Σq] - n/2. Unbounded."""
    return torch.sinh(scales).square().sum()


def hellinger_squared(scales: Scales) -> Scalar:
    """H², exactly: 1 - exp(-[½ logdet((Σp+Σq)/2) - ¼(logdet Σp + logdet Σq)])."""
    return -torch.expm1(
        -torch.log1p(2 * torch.sinh(scales / 2).square()).sum() / 2
    )  # log cosh, exact around 0 too


@measure("tv", MeasureTraits(takes="kernel", same=0.0, bayesian=True))
def tv(
    mine: Kernel,
    theirs: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centring = "none",
    samples: int = 10_000,
    seed: int = 0,
    reference: bool = False,
) -> Scalar:
    """Total variation between the prior predictive distributions of linear readouts, 0 to 1 (Schütt 2024)."""
    return total_variation(_drawn(mine, theirs, b, a, center, samples, seed), reference=reference)


@measure("jsd", MeasureTraits(takes="kernel", same=0.0, bayesian=True))
def jsd(
    mine: Kernel,
    theirs: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centring = "none",
    samples: int = 10_000,
    seed: int = 0,
    reference: bool = False,
) -> Scalar:
    """Jensen-Shannon divergence between the prior predictive distributions of linear readouts, 0 to 1 bit (Schütt 2024)."""
    return divergence(_drawn(mine, theirs, b, a, center, samples, seed), reference=reference)


@measure("js-distance", MeasureTraits(takes="kernel", same=0.0, bayesian=True))
def js_distance(
    mine: Kernel,
    theirs: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centring = "none",
    samples: int = 10_000,
    seed: int = 0,
) -> Scalar:
    """Root of the Jensen-Shannon divergence, 0 to 1: the one of the two that is a metric. Its slope at 0 is infinite: train with jsd."""
    return safe_sqrt(jsd(mine, theirs, b=b, a=a, center=center, samples=samples, seed=seed))


@measure("hellinger", MeasureTraits(takes="kernel", same=0.0, bayesian=True))
def hellinger(
    mine: Kernel,
    theirs: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centring = "none",
) -> Scalar:
    """Hellinger distance between the prior predictive distributions of linear readouts, 0 to 1, exact: bounds TV from both sides."""
    return safe_sqrt(hellinger_squared(_scales(mine, theirs, b, a, center)))


@measure("skl", MeasureTraits(takes="kernel", same=0.0, bayesian=True))
def skl(
    mine: Kernel,
    theirs: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centring = "none",
) -> Scalar:
    """Symmetric Kullback-Leibler divergence between the prior predictive distributions of linear readouts, in nats, exact, unbounded."""
    return symmetric_kl(_scales(mine, theirs, b, a, center))


def settings(measure: Measure, n: int) -> dict[str, Any]:
    """All that a value of a Bayesian measure over n stimuli depends on, to be shown with it: n, b, a, centring, samples, seed."""
    options = {
        o.name: o.default
        for o in inspect.signature(measure).parameters.values()
        if o.kind is o.KEYWORD_ONLY
    }
    share = prior_variance_share(n, options["b"], options["a"])
    return {"n": n, **options, "b": share / (1 - share) / n, "a": share}


def _scales(mine: Kernel, theirs: Kernel, b: float, a: float | None, center: Centring) -> Scales:
    assert mine.shape == theirs.shape, (
        f"kernels of {len(mine)} and {len(theirs)} stimuli are not over the same stimuli"
    )
    return log_scales(
        prior_variance(mine, b=b, a=a, center=center),
        prior_variance(theirs, b=b, a=a, center=center),
    )


def _drawn(
    mine: Kernel,
    theirs: Kernel,
    b: float,
    a: float | None,
    center: Centring,
    samples: int,
    seed: int,
) -> Ratios:
    check_samples(samples)
    return log_ratios(
        _scales(mine, theirs, b, a, center), samples, torch.Generator().manual_seed(seed)
    )
