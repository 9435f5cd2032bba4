"""RDMs of measured responses: runs × stimuli × channels (voxels, neurons, sensors), with their noise reckoned with.

Distances of noisy means are too large everywhere (by about 2/R in noise units for R runs); crossnobis multiplies independent runs
instead and is unbiased, so it may be negative, and its zero means no difference. Responses are float64 from here on.
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.core.tensor_types import Condensed
from rdl_cli.rsa import distances
from rdl_cli.rsa.condensed import condensed_pairs

Responses = Annotated[Tensor, "r n p"]
Covariance = Annotated[Tensor, "p p"]

RESPONSE_DISTANCES = Registry(
    "distance of responses", home="rdl_cli.rsa.response_distances", external=False
)
"""A member is `function(responses: Responses, noise: Covariance | None = None) -> Condensed`; the noise is estimated where it is None."""


@RESPONSE_DISTANCES.register("correlation")
def correlation(responses: Responses, noise: Covariance | None = None) -> Condensed:
    """One minus Pearson's r of the means over runs; the noise is not used."""
    mean = _checked(responses, runs=1).mean(0)
    flat = (mean.amax(1) == mean.amin(1)).nonzero().flatten()
    if len(flat):
        fact = f"{len(flat)} of {len(mean)} stimuli have the same response in all {mean.shape[1]} channels"
        raise UserError(
            fact, hint=f"their correlation is not defined; the first is stimulus {int(flat[0]) + 1}"
        )
    return distances.correlation(mean, mean)[condensed_pairs(len(mean))]


@RESPONSE_DISTANCES.register("mahalanobis")
def mahalanobis(responses: Responses, noise: Covariance | None = None) -> Condensed:
    """Squared Mahalanobis distance of the means over runs, over the number of channels (as rsatoolbox has it)."""
    white = _whitened(responses, noise, runs=1 if noise is not None else 2).mean(0)
    return distances.mse(white, white)[condensed_pairs(len(white))]


@RESPONSE_DISTANCES.register("crossnobis")
def crossnobis(responses: Responses, noise: Covariance | None = None) -> Condensed:
    """The unbiased squared Mahalanobis distance, over the number of channels: each run against the mean of the others.

    Walther et al. 2016 (NeuroImage 137). Leaving one run out and averaging is the mean over all pairs of different runs, so one
    Gram matrix of the sum less those of the runs gives it.
    """
    white = _whitened(responses, noise, runs=2)
    runs, n, channels = white.shape
    total = white.sum(0)
    gram = (total @ total.T - torch.einsum("rip,rjp->ij", white, white)) / (
        runs * (runs - 1) * channels
    )
    i, j = condensed_pairs(n)
    return gram[i, i] + gram[j, j] - gram[i, j] - gram[j, i]


def noise_covariance(residuals: Annotated[Tensor, "m p"], freedom: int) -> Covariance:
    """The channels' noise covariance, shrunk towards its diagonal so that it can be inverted with fewer residuals than channels.

    The amount is Schäfer & Strimmer's (2005): the summed variance of the correlations over the sum of their squares. `freedom` is
    the residuals' degrees of freedom: their number less that of the means taken from them. UserError where a channel never varies.
    """
    m = len(residuals)
    x = residuals.double() - residuals.double().mean(0)
    sums = x.T @ x
    variance = sums.diagonal() / freedom
    still = (variance <= variance.max() * 1e-24).nonzero().flatten()
    if len(still):
        fact = f"{len(still)} of {len(variance)} channels have no noise: they are the same in every run"
        raise UserError(fact, hint=f"leave them out; the first is channel {int(still[0]) + 1}")
    scale = (variance[:, None] * variance[None]).sqrt()
    mean = sums / scale / (m - 1)
    square = x.square().T @ x.square() / scale.square() / (m - 1)
    spread = m / freedom**2 * (square - mean.square())
    off = ~torch.eye(len(variance), dtype=torch.bool)
    signal = mean[off].square().sum()
    shrinkage = float((spread[off].sum() / signal).clamp(0, 1)) if signal > 0 else 1.0
    return torch.where(off, (1 - shrinkage) * sums / freedom, sums / freedom)


def _whitened(responses: Responses, noise: Covariance | None, runs: int) -> Responses:
    """Responses in noise units: their noise has the identity as its covariance."""
    responses = _checked(responses, runs)
    r, n, channels = responses.shape
    if noise is None:
        noise = noise_covariance(
            (responses - responses.mean(0)).reshape(r * n, channels), freedom=(r - 1) * n
        )
    if noise.shape != (channels, channels):
        raise UserError(
            f"the noise covariance is {' × '.join(map(str, noise.shape))}; the responses have {channels} channels"
        )
    factor, failed = torch.linalg.cholesky_ex(noise.double())
    if failed:
        raise UserError(
            "the noise covariance can't be inverted",
            hint="give one that was shrunk, or let it be estimated",
        )
    return torch.linalg.solve_triangular(
        factor, responses.reshape(r * n, channels).T, upper=False
    ).T.reshape(r, n, channels)


def _checked(responses: Responses, runs: int) -> Responses:
    if responses.ndim != 3 or math.prod(responses.shape) == 0:
        raise UserError(
            f"responses are runs × stimuli × channels, not {' × '.join(map(str, responses.shape))}"
        )
    if len(responses) < runs:
        fact = f"{len(responses)} run is not enough: its noise can't be told from its signal"
        raise UserError(fact, hint="give 2 runs or more; --responses correlation needs one")
    missing = (~responses.isfinite()).nonzero()
    if len(missing):
        run, stimulus, channel = (int(v) + 1 for v in missing[0])
        fact = f"{len(missing):,} responses are not measured, the first in run {run}, stimulus {stimulus}, channel {channel}"
        raise UserError(fact, hint="leave out the channels, stimuli or runs that are incomplete")
    return responses.double()
