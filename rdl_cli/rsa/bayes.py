"""Bayesian measures: how well linear readouts of one draw could tell two representations apart.

A readout with random weights and noise gives all n stimuli jointly y ~ N(0, Σ),
Σ = (1-a) K n/tr(K) + a I (Schütt 2024, arXiv 2411.08739). The measures compare the distributions
of y. Values of different n, b or a are not comparable: show `describe_settings` with each.

The measures depend on the two Σ only through the axes on which both are diagonal, so a draw costs n
numbers instead of n² (the samples of the paper's method, rotated). Gradients pass through the draws
(pathwise; detaching them is wrong: -.203 for -.235). All is computed in float64.
"""

import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.distances import safe_sqrt
from rdl_cli.rsa.kernels import Centering, Kernel, center_kernel
from rdl_cli.rsa.measures import Measure, MeasureTraits, register_measure

Covariance = Float[Tensor, "n n"]
LogScales = Float[Tensor, " n"]
LogRatios = Float[Tensor, "2 samples"]
Scalar = Float[Tensor, ""]

DISTANCE = MeasureTraits(input="kernel", identity_value=0.0, bayesian=True, bounds=(0.0, 1.0))
UNBOUNDED = DISTANCE._replace(bounds=(0.0, math.inf))


def prior_variance_share(n: int, b: float, a: float | None) -> float:
    """Return a, the noise's share of the variance: as given, or nb/(1+nb).

    Args:
        n: the number of stimuli.
        b: noise variance over signal variance, not used if a is given.
        a: the share itself.

    Raises:
        UserError: b is not above 0, or the share is outside [1e-6, 1).

    Example:
        >>> round(prior_variance_share(100, 0.01, None), 3)
        0.5
    """
    if a is None and not b > 0:
        raise UserError(
            f"the noise's variance over the signal's is b={b:g}; it must be above 0",
            hint="b=0.01 is the paper's choice",
        )
    share = n * b / (1 + n * b) if a is None else a
    if not 1e-6 <= share < 1:
        source = f"b={b:g} with {n:,} stimuli gives" if a is None else "the option gives"
        raise UserError(
            f"the noise's share a of the variance must be in [1e-6, 1); {source} a={share:g}",
            hint="b=0.01 is the paper's choice",
        )
    return share


def check_samples(samples: int) -> None:
    """Raise UserError if there is no draw to average over."""
    if samples < 1:
        raise UserError(
            f"samples={samples}: at least 1 draw is needed",
            hint="10,000 are usual to measure, 256 to train",
        )


def prior_variance(
    kernel: Kernel, *, b: float = 0.01, a: float | None = None, center: Centering = "none"
) -> Covariance:
    """Return Σ, the covariance of the readouts' responses to the stimuli, with trace n.

    Args:
        kernel: inner products of n stimuli.
        b, a: the noise, as in `prior_variance_share`.
        center: `stimuli` centers the kernel. For `features` the kernel must come from
            `inner_products(reps, "features")`; it does not contain single units.

    Example:
        >>> prior_variance(torch.eye(2), a=0.5).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    n = len(kernel)
    share = prior_variance_share(n, b, a)
    k = center_kernel(kernel.double()) if center == "stimuli" else kernel.double()
    trace = k.diagonal().sum()
    signal = k * torch.where(trace > 0, n / torch.where(trace > 0, trace, 1), 0)
    return (1 - share) * signal + share * torch.eye(n, dtype=k.dtype, device=k.device)


def log_scales(p: Covariance, q: Covariance) -> LogScales:
    """Return log(sd under p / sd under q) along each axis on which both are diagonal.

    atanh of the eigenvalues of (p - q)/(p + q), which are exact at both ends; all 0 for p = q.
    """
    root = torch.linalg.cholesky((p + q) / 2)
    half = torch.linalg.solve_triangular(root, (p - q) / 2, upper=False)
    ratio = torch.linalg.solve_triangular(root, half.mT, upper=False)
    return torch.linalg.eigvalsh((ratio + ratio.mT) / 2).atanh()


def log_ratios(scales: LogScales, samples: int, generator: torch.Generator) -> LogRatios:
    """Return log p(y)/q(y) of draws of y from p (first row) and from q (second row)."""
    gains = torch.stack([torch.expm1(2 * scales), -torch.expm1(-2 * scales)]) / 2
    at_once = max(1, 2**22 // len(scales))  # 64 MB of draws, however many are asked for
    chunks = []
    for start in range(0, samples, at_once):
        shape = (2, min(at_once, samples - start), len(scales))
        draws = torch.randn(
            shape, generator=generator, device=generator.device, dtype=scales.dtype
        ).to(scales.device)
        chunks.append((draws.square() @ gains[:, :, None]).squeeze(-1) - scales.sum())
    return torch.cat(chunks, 1)


def total_variation(ratios: LogRatios, *, reference: bool = False) -> Scalar:
    """Return ½∫|p - q|: one draw tells p from q with accuracy (1 + TV)/2 at best.

    `reference` computes it as the paper's package does, with more variance.
    """
    if reference:
        return (
            F.relu(-torch.expm1(-ratios[0])).mean() + F.relu(-torch.expm1(ratios[1])).mean()
        ) / 2
    return torch.tanh(ratios / 2).abs().mean()


def jensen_shannon_divergence(ratios: LogRatios, *, reference: bool = False) -> Scalar:
    """Return the Jensen-Shannon divergence in bits: the information of one draw about its source.

    `reference` computes it as the paper's package does. Otherwise it is the entropy of the guess,
    with less than half of the standard deviation, and never negative.
    """
    if reference:
        return 1 + (F.logsigmoid(ratios[0]).mean() + F.logsigmoid(-ratios[1]).mean()) / (
            2 * math.log(2)
        )
    return 1 - (F.softplus(ratios) - ratios * torch.sigmoid(ratios)).mean() / math.log(2)


def symmetric_kl(scales: LogScales) -> Scalar:
    """Return the mean of the two Kullback-Leibler divergences in nats, exact and unbounded.

    ¼[tr Σq⁻¹Σp + tr Σp⁻¹Σq] - n/2.
    """
    return torch.sinh(scales).square().sum()


def hellinger_squared(scales: LogScales) -> Scalar:
    """Return H², exact: 1 - exp(-[½ logdet((Σp+Σq)/2) - ¼(logdet Σp + logdet Σq)])."""
    # log cosh, exact around 0 too
    return -torch.expm1(-torch.log1p(2 * torch.sinh(scales / 2).square()).sum() / 2)


@register_measure("tv", DISTANCE)
def tv(
    first: Kernel,
    second: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centering = "none",
    samples: int = 10_000,
    seed: int = 0,
    reference: bool = False,
) -> Scalar:
    """Return the total variation between the predictive distributions, 0 to 1; args as `jsd`."""
    ratios = _sample_log_ratios(first, second, b, a, center, samples, seed)
    return total_variation(ratios, reference=reference)


@register_measure("jsd", DISTANCE)
def jsd(
    first: Kernel,
    second: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centering = "none",
    samples: int = 10_000,
    seed: int = 0,
    reference: bool = False,
) -> Scalar:
    """Return the Jensen-Shannon divergence between the predictive distributions, 0 to 1 bit.

    Args:
        first, second: kernels of the same n stimuli.
        b, a, center: the prior, as in `prior_variance`.
        samples: draws from each distribution.
        seed: of the draws.
        reference: use the estimator of the paper's package.

    Example:
        >>> jsd(torch.eye(5), 7 * torch.eye(5)).item()
        0.0
    """
    ratios = _sample_log_ratios(first, second, b, a, center, samples, seed)
    return jensen_shannon_divergence(ratios, reference=reference)


@register_measure("js-distance", DISTANCE)
def js_distance(
    first: Kernel,
    second: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centering = "none",
    samples: int = 10_000,
    seed: int = 0,
) -> Scalar:
    """Return the root of the Jensen-Shannon divergence, 0 to 1, which is a metric.

    Its slope at 0 is infinite: train with `jsd`. Args are those of `jsd`.
    """
    return safe_sqrt(jsd(first, second, b=b, a=a, center=center, samples=samples, seed=seed))


@register_measure("hellinger", DISTANCE)
def hellinger(
    first: Kernel,
    second: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centering = "none",
) -> Scalar:
    """Return the Hellinger distance between the predictive distributions, 0 to 1, exact.

    It bounds TV from both sides: H² ≤ TV ≤ H√(2-H²). Args are those of `prior_variance`.
    """
    return safe_sqrt(hellinger_squared(_compare_priors(first, second, b, a, center)))


@register_measure("skl", UNBOUNDED)
def skl(
    first: Kernel,
    second: Kernel,
    *,
    b: float = 0.01,
    a: float | None = None,
    center: Centering = "none",
) -> Scalar:
    """Return the symmetric KL divergence between the predictive distributions, in nats, exact.

    It is unbounded. Args are those of `prior_variance`.
    """
    return symmetric_kl(_compare_priors(first, second, b, a, center))


def describe_settings(measure: Measure, n: int) -> dict[str, Any]:
    """Return all that a value of a Bayesian measure over n stimuli depends on, to show with it.

    Example:
        >>> describe_settings(skl, 100)
        {'n': 100, 'b': 0.01, 'a': 0.5, 'center': 'none'}
    """
    options = {
        option.name: option.default
        for option in inspect.signature(measure).parameters.values()
        if option.kind is option.KEYWORD_ONLY
    }
    share = prior_variance_share(n, options["b"], options["a"])
    return {"n": n, **options, "b": share / (1 - share) / n, "a": share}


def _compare_priors(
    first: Kernel, second: Kernel, b: float, a: float | None, center: Centering
) -> LogScales:
    assert first.shape == second.shape, (
        f"kernels of {len(first)} and {len(second)} stimuli are not over the same stimuli"
    )
    return log_scales(
        prior_variance(first, b=b, a=a, center=center),
        prior_variance(second, b=b, a=a, center=center),
    )


def _sample_log_ratios(
    first: Kernel,
    second: Kernel,
    b: float,
    a: float | None,
    center: Centering,
    samples: int,
    seed: int,
) -> LogRatios:
    check_samples(samples)
    return log_ratios(
        _compare_priors(first, second, b, a, center), samples, torch.Generator().manual_seed(seed)
    )
