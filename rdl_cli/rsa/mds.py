"""Maps of representations: distances between whole RDMs, and points in the plane that show them."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import center, correlation, cosine, euclidean, safe_sqrt, sqeuclidean
from rdl_cli.rsa.kernels import center_kernel

RDM_DISTANCES = Registry("distance between RDMs", home="rdl_cli.rsa.mds")
"""Members are `function(rdms) -> distances`, `(k, p) -> (k, k)`, over RDMs in condensed order."""

Rows = Int[Tensor, " size"]
Points = Float[Tensor, "k 2"]
DistanceMatrix = Float[Tensor, "k k"]


@RDM_DISTANCES.register("correlation")
def one_minus_pearson(rdms: Float[Tensor, "k p"]) -> DistanceMatrix:
    """Return one minus Pearson's r between RDMs, as in Fig. 4 of McClure & Kriegeskorte 2016."""
    return correlation(rdms, rdms)


@RDM_DISTANCES.register("normalised")
def normalised_euclidean(rdms: Float[Tensor, "k p"]) -> DistanceMatrix:
    """Return the Euclidean distance of RDMs of length 1: √(2(1 - cos)).

    One reading of the "normalized Euclidean" of the paper's Fig. 6.
    """
    return safe_sqrt(2 * cosine(rdms, rdms))


@RDM_DISTANCES.register("standardised")
def standardised_euclidean(rdms: Float[Tensor, "k p"]) -> DistanceMatrix:
    """Return √(½ Var(a-b) / (Var a + Var b)), 0 to 1.

    The other reading of Fig. 6, insensitive to a common offset but not to scale.
    """
    centered = center(rdms, 1)
    variances = centered.square().sum(1)
    total = variances[:, None] + variances[None]
    return safe_sqrt(sqeuclidean(centered, centered) / (2 * torch.where(total > 0, total, 1)))


def draw_samples(
    n: int, generator: torch.Generator, *, samples: int = 20, size: int = 100, replace: bool = False
) -> list[Rows]:
    """Return samples of n stimuli, as rows (the paper: 20 of 100).

    Without replacement no pair is of an image with itself; with it, 39 of 100 samples of 100 out of
    10,000 have one.

    Args:
        n: the number of stimuli.
        generator: the source of randomness.
        samples, size: how many samples, of how many stimuli.
        replace: draw with replacement within a sample.

    Raises:
        UserError: a sample is larger than n.

    Example:
        >>> [len(rows.unique()) for rows in draw_samples(9, torch.Generator(), samples=2, size=5)]
        [5, 5]
    """
    if size > n and not replace:
        raise UserError(
            f"a sample takes {size:,} stimuli; there are {n:,}", hint=f"take {n:,} or fewer"
        )
    return [
        torch.randint(n, (size,), generator=generator)
        if replace
        else torch.randperm(n, generator=generator)[:size]
        for _ in range(samples)
    ]


def mean_distances(
    representations: Iterable[Num[Tensor, "n ..."]],
    distance: Callable[[Tensor, Tensor], Tensor],
    rdm_distance: Callable[[Tensor], Tensor],
    samples: Sequence[Rows],
) -> DistanceMatrix:
    """Return the distances between the RDMs of k representations, averaged over samples.

    Args:
        representations: k representations of the same stimuli. Each is needed only while its RDMs
            are computed, so a generator can read them one by one.
        distance: a distance between stimuli.
        rdm_distance: a distance between RDMs.
        samples: rows of stimuli.
    """
    rdms, n_stimuli = [], set()
    for reps in representations:
        n_stimuli.add(len(reps))
        sampled = (reps[rows.to(reps.device)] for rows in samples)
        rdms.append(
            torch.stack([distance(x, x).cpu()[condensed_pairs(len(x))].double() for x in sampled])
        )
    assert len(n_stimuli) == 1, f"representations of {sorted(n_stimuli)} stimuli have no map"
    return torch.stack([rdm_distance(sample) for sample in torch.stack(rdms, 1)]).mean(0)


class MdsMap(NamedTuple):
    """Points around 0, and Kruskal's stress-1 (1964) of their distances: .05 is good, .2 poor."""

    points: Tensor
    stress: float


def mds(distances: DistanceMatrix, *, iterations: int = 3000) -> MdsMap:
    """Return points in the plane by metric multidimensional scaling (SMACOF, de Leeuw 1977).

    Nothing is random: it begins at classical scaling, whose axes' signs are fixed, so the same
    distances give the same picture everywhere.

    Args:
        distances: between k objects, all measured.
        iterations: at most.

    Example:
        >>> mds(torch.tensor([[0.0, 3, 4], [3, 0, 5], [4, 5, 0]])).stress < 1e-4
        True
    """
    d = distances.double().cpu()
    d = (d + d.T) / 2
    assert d.isfinite().all(), "a map needs every distance; some are not measured"
    points, stress = _classical_scaling(d), torch.inf
    for _ in range(iterations):
        current = euclidean(points, points)
        error = float(
            (current - d).square().sum()
            / current.square().sum().clamp_min(torch.finfo(d.dtype).tiny)
        )
        if stress - error <= max(1e-10 * error, 1e-16):
            break
        stress = error
        pull = torch.where(current > 0, d / torch.where(current > 0, current, 1), 0)
        points = (pull.sum(1).diag() - pull) @ points / len(d)
    return MdsMap(points, stress**0.5)


def procrustes_align(points: Points, reference: Points) -> Points:
    """Return the points rotated, mirrored and moved onto a reference, not scaled.

    Orthogonal Procrustes of the same k points.
    """
    mean = reference.mean(0)
    centered, target = points - points.mean(0), reference - mean
    u, _, v = torch.linalg.svd(centered.T @ target)
    return centered @ (u @ v) + mean


def _classical_scaling(d: DistanceMatrix) -> Points:
    """Return the two longest axes of -½HD²H, the farthest point of each on the positive side."""
    values, vectors = torch.linalg.eigh(center_kernel(-d.square() / 2))
    points = (vectors * values.clamp_min(0).sqrt()).flip(1)[:, :2]
    points = torch.nn.functional.pad(points, (0, 2 - points.shape[1]))
    farthest = points.gather(0, points.abs().argmax(0, keepdim=True))
    return points * torch.where(farthest < 0, -1, 1)
