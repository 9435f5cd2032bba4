"""Maps of representations: how far apart whole RDMs are, and points in the plane whose distances say the same."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.core.tensor_types import Distances, Reps
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import center, correlation, cosine, euclidean, safe_sqrt, sqeuclidean
from rdl_cli.rsa.kernels import center_kernel

Rdms = Annotated[Tensor, "k p"]
Points = Annotated[Tensor, "k 2"]
Matrix = Annotated[Tensor, "k k"]
Rows = Annotated[Tensor, "n"]

BETWEEN_RDMS = Registry("distance between RDMs", home="rdl_cli.rsa.mds")
"""A member is `function(rdms) -> k k` over RDMs in condensed order."""


@BETWEEN_RDMS.register("correlation")
def one_minus_pearson(rdms: Rdms) -> Matrix:
    """One minus Pearson's r between RDMs, as in Fig. 4 of McClure & Kriegeskorte 2016."""
    return correlation(rdms, rdms)


@BETWEEN_RDMS.register("normalised")
def normalised_euclidean(rdms: Rdms) -> Matrix:
    """Euclidean distance of RDMs of length one, √(2(1 - cos)): one reading of the "normalized Euclidean" of the paper's Fig. 6."""
    return safe_sqrt(2 * cosine(rdms, rdms))


@BETWEEN_RDMS.register("standardised")
def standardised_euclidean(rdms: Rdms) -> Matrix:
    """√(½ Var(a-b) / (Var a + Var b)), 0 to 1: the other reading of Fig. 6, blind to a common offset but not to scale."""
    away = center(rdms, 1)
    variances = away.square().sum(1)
    total = variances[:, None] + variances[None]
    return safe_sqrt(sqeuclidean(away, away) / (2 * torch.where(total > 0, total, 1)))


def draw_samples(
    n: int, generator: torch.Generator, *, samples: int = 20, size: int = 100, replace: bool = False
) -> list[Rows]:
    """Samples of n stimuli as their rows (the paper: 20 of 100).

    Without replacement within a sample, so no pair is of an image with itself: drawing 100 of 10,000 with it has one in 39 of 100.
    UserError where there are fewer stimuli than a sample takes.
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
    representations: Iterable[Reps],
    distance: Callable[[Reps, Reps], Distances],
    between: Callable[[Rdms], Matrix],
    samples: Sequence[Rows],
) -> Matrix:
    """How far apart the RDMs of k representations of the same stimuli are, averaged over samples of these.

    Each representation is needed only while its own RDMs are made, so that a generator can read them one by one.
    """
    rdms, stimuli = [], set()
    for reps in representations:
        stimuli.add(len(reps))
        picked = (reps[rows.to(reps.device)] for rows in samples)
        rdms.append(
            torch.stack(
                [distance(each, each).cpu()[condensed_pairs(len(each))].double() for each in picked]
            )
        )
    assert len(stimuli) == 1, f"representations of {sorted(stimuli)} stimuli have no map"
    return torch.stack([between(of_sample) for of_sample in torch.stack(rdms, 1)]).mean(0)


class Map(NamedTuple):
    """Points around 0, and Kruskal's stress-1 (1964) of how they misstate the distances: .05 is good, .2 poor."""

    points: Points
    stress: float


def mds(distances: Matrix, *, iterations: int = 3000) -> Map:
    """The plane that states the distances best: metric multidimensional scaling by SMACOF (de Leeuw 1977), no chance involved.

    It begins at classical scaling, whose axes' signs are fixed, so the same distances give the same picture everywhere.
    """
    d = distances.double().cpu()
    d = (d + d.T) / 2
    assert d.isfinite().all(), "a map needs every distance; some are not measured"
    points, stress = _classical(d), torch.inf
    for _ in range(iterations):
        apart = euclidean(points, points)
        error = float(
            (apart - d).square().sum() / apart.square().sum().clamp_min(torch.finfo(d.dtype).tiny)
        )
        if stress - error <= max(1e-10 * error, 1e-16):
            break
        stress = error
        pull = torch.where(apart > 0, d / torch.where(apart > 0, apart, 1), 0)
        points = (pull.sum(1).diag() - pull) @ points / len(d)
    return Map(points, stress**0.5)


def procrustes_align(points: Points, reference: Points) -> Points:
    """The points turned, mirrored and moved onto a reference of the same k points, not scaled (orthogonal Procrustes)."""
    away, fixed = points - points.mean(0), reference - reference.mean(0)
    u, _, v = torch.linalg.svd(away.T @ fixed)
    return away @ (u @ v) + reference.mean(0)


def _classical(d: Matrix) -> Points:
    """Torgerson's scaling: the two longest axes of -½HD²H, each with its farthest point on the positive side."""
    values, vectors = torch.linalg.eigh(center_kernel(-d.square() / 2))
    points = (vectors * values.clamp_min(0).sqrt()).flip(1)[:, :2]
    points = torch.nn.functional.pad(points, (0, 2 - points.shape[1]))
    farthest = points.gather(0, points.abs().argmax(0, keepdim=True))
    return points * torch.where(farthest < 0, -1, 1)
