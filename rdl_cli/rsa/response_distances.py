"""RDMs of measured responses, runs × stimuli × channels (voxels, neurons, sensors), with noise.

Distances of noisy means are too large everywhere, by about 2/R in noise units for R runs.
Crossnobis multiplies independent runs instead and is unbiased, so it may be negative. Responses
are float64.
"""

import torch
from jaxtyping import Float, Num
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.rsa import distances
from rdl_cli.rsa.condensed import condensed_pairs

Responses = Num[Tensor, "runs n channels"]
Covariance = Num[Tensor, "channels channels"]
RDM = Float[Tensor, " p"]

TWO_RUNS_WARNING = (
    "crossnobis of two runs is biased: the noise is estimated from the runs that it whitens."
    " Distances of equal stimuli are above 0; use three runs or more"
)

RESPONSE_DISTANCES = Registry(
    "distance of responses", home="rdl_cli.rsa.response_distances", external=False
)
"""Members are `function(responses, noise=None) -> RDM`. The noise covariance is estimated if it is
None."""


@RESPONSE_DISTANCES.register("correlation")
def correlation(responses: Responses, noise: Covariance | None = None) -> RDM:
    """Return one minus Pearson's r of the means over runs; the noise is not used.

    Args:
        responses: runs × stimuli × channels.
        noise: ignored.

    Raises:
        UserError: some responses are not measured, a stimulus has the same in all channels, or
            all stimuli have collinear responses.
    """
    mean = _check(responses, min_runs=1).mean(0)
    flat = (mean.amax(1) == mean.amin(1)).nonzero().flatten()
    if len(flat):
        raise UserError(
            f"{len(flat)} of {len(mean)} stimuli have the same response in all {mean.shape[1]}"
            " channels",
            hint=f"their correlation is not defined; the first is stimulus {int(flat[0]) + 1}",
        )
    rdm = distances.correlation(mean, mean)[condensed_pairs(len(mean))]
    if len(rdm) > 1 and (rdm == 0).all():
        raise UserError(
            f"the responses to all {len(mean)} stimuli are equal up to scale and offset; their"
            " correlation distances are rounding errors",
            hint="check the file and --axes, or use --responses mahalanobis",
        )
    return rdm


@RESPONSE_DISTANCES.register("mahalanobis")
def mahalanobis(responses: Responses, noise: Covariance | None = None) -> RDM:
    """Return the squared Mahalanobis distance of the means over runs, over the number of channels.

    As in rsatoolbox: (f_i - f_j)ᵀΣ⁻¹(f_i - f_j)/p. Its bias is about 2/R for R runs.

    Args:
        responses: runs × stimuli × channels.
        noise: covariance of the noise of single runs; estimated from the residuals if None.

    Raises:
        UserError: there are too few runs, or the covariance cannot be inverted.
    """
    white = _whiten(responses, noise, min_runs=1 if noise is not None else 2).mean(0)
    return distances.mse(white, white)[condensed_pairs(len(white))]


@RESPONSE_DISTANCES.register("crossnobis")
def crossnobis(responses: Responses, noise: Covariance | None = None) -> RDM:
    """Return the crossvalidated squared Mahalanobis distance, over the number of channels.

    Each run a against the mean b of the others (Walther et al. 2016, NeuroImage 137):
    mean over runs of (a_i - a_j)ᵀΣ⁻¹(b_i - b_j)/p. It is unbiased: 0 on average for equal stimuli.
    The noise Σ of a fold is estimated from the residuals of the others alone. Residuals that
    contain the left-out run bias it, by +.19 for 46 stimuli, 100 channels and 6 runs.

    Args:
        responses: runs × stimuli × channels, 2 runs or more. With two runs and no given noise
            all residuals are used, and the distance is biased (`TWO_RUNS_WARNING`).
        noise: covariance of the noise of single runs; estimated from the residuals if None.

    Raises:
        UserError: there is one run, or the covariance cannot be inverted.
    """
    if noise is None and len(responses) > 2:
        gram = _cross_gram(responses)
    else:
        white = _whiten(responses, noise, min_runs=2)
        runs, _, channels = white.shape
        # the mean over all pairs of different runs, from the Gram matrix of their sum
        total = white.sum(0)
        gram = (total @ total.T - torch.einsum("rip,rjp->ij", white, white)) / (
            runs * (runs - 1) * channels
        )
    i, j = condensed_pairs(len(gram))
    return gram[i, i] + gram[j, j] - gram[i, j] - gram[j, i]


def noise_covariance(residuals: Num[Tensor, "m channels"], dof: int) -> Covariance:
    """Return the channels' noise covariance, shrunk towards its diagonal so that it has an inverse.

    The amount of shrinkage is that of Schäfer & Strimmer (2005): the summed variance of the
    correlations over the sum of their squares.

    Args:
        residuals: responses minus their means; may be fewer than channels.
        dof: degrees of freedom: the number of residuals minus that of the means subtracted.

    Raises:
        UserError: a channel never varies.
    """
    m = len(residuals)
    x = residuals.double() - residuals.double().mean(0)
    sums = x.T @ x
    variance = sums.diagonal() / dof
    constant = (variance <= variance.max() * 1e-24).nonzero().flatten()
    if len(constant):
        raise UserError(
            f"{len(constant)} of {len(variance)} channels have no noise: they are the same in every"
            " run",
            hint=f"leave them out; the first is channel {int(constant[0]) + 1}",
        )
    scale = (variance[:, None] * variance[None]).sqrt()
    mean = sums / scale / (m - 1)
    square = x.square().T @ x.square() / scale.square() / (m - 1)
    spread = m / dof**2 * (square - mean.square())
    off_diagonal = ~torch.eye(len(variance), dtype=torch.bool)
    signal = mean[off_diagonal].square().sum()
    shrinkage = float((spread[off_diagonal].sum() / signal).clamp(0, 1)) if signal > 0 else 1.0
    return torch.where(off_diagonal, (1 - shrinkage) * sums / dof, sums / dof)


def _cross_gram(responses: Responses) -> Float[Tensor, "n n"]:
    """Return the mean over runs of A Σ⁻¹ Bᵀ/p: run A, the mean B and the noise Σ of the others."""
    responses = _check(responses, min_runs=3)
    grams = []
    for run, left_out in enumerate(responses):
        others = torch.cat([responses[:run], responses[run + 1 :]])
        folds = torch.stack([left_out, others.mean(0)])
        a, b = _divide_by_noise(folds, _estimate_noise(others))
        grams.append(a @ b.T / responses.shape[2])
    return torch.stack(grams).mean(0)


def _whiten(responses: Responses, noise: Covariance | None, min_runs: int) -> Responses:
    """Return responses in noise units: the covariance of their noise is the identity."""
    responses = _check(responses, min_runs)
    return _divide_by_noise(responses, _estimate_noise(responses) if noise is None else noise)


def _estimate_noise(responses: Responses) -> Covariance:
    """Return the noise covariance of single runs, from their residuals."""
    r, n, channels = responses.shape
    residuals = (responses - responses.mean(0)).reshape(r * n, channels)
    return noise_covariance(residuals, dof=(r - 1) * n)


def _divide_by_noise(responses: Responses, noise: Covariance) -> Responses:
    r, n, channels = responses.shape
    assert len(noise) == channels, f"noise of {len(noise)} channels, responses of {channels}"
    factor, failed = torch.linalg.cholesky_ex(noise.double())
    if failed:
        raise UserError(
            "the noise covariance cannot be inverted",
            hint="give a shrunk one, or none: it is then estimated",
        )
    return torch.linalg.solve_triangular(
        factor, responses.reshape(r * n, channels).T, upper=False
    ).T.reshape(r, n, channels)


def _check(responses: Responses, min_runs: int) -> Float[Tensor, "runs n channels"]:
    """Return the responses in float64. UserError if runs are too few or responses are missing."""
    shape = " × ".join(map(str, responses.shape))
    assert min(responses.shape) > 0, f"responses are runs × stimuli × channels, not {shape}"
    if len(responses) < min_runs:
        raise UserError(
            f"{len(responses)} run is not enough: its noise cannot be told from its signal",
            hint="give 2 runs or more; --responses correlation needs one",
        )
    missing = (~responses.isfinite()).nonzero()
    if len(missing):
        run, stimulus, channel = (int(v) + 1 for v in missing[0])
        raise UserError(
            f"{len(missing):,} responses are not measured, the first in run {run}, stimulus"
            f" {stimulus}, channel {channel}",
            hint="leave out the channels, stimuli or runs that are incomplete",
        )
    return responses.double()
