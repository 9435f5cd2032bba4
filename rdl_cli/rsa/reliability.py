"""How far each distance can be trusted, from how far subjects agree on it."""

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Condensed
from rdl_cli.rsa.measures import zscore
from rdl_cli.rsa.noise_ceiling import SubjectRdms

FLOOR = 0.1
"""Least variance, over the usual: with a few subjects some pairs agree by chance, and none is to count more than ten times."""


def reliability(rdms: SubjectRdms) -> Condensed:
    """What each pair is to count, 1 on average: one over the variance of its distance across subjects.

    RDMs are brought to one scale first (z-scores), so that it is geometries and not amplitudes that disagree. A pair that fewer than
    two subjects have counts 0. UserError for one subject alone, and where no pair has two.
    """
    if len(rdms) < 2:
        raise UserError(
            f"how reliable distances are needs at least 2 subjects to tell; there is {len(rdms)}",
            hint="use pairs=equal",
        )
    suited = zscore(rdms.double())
    known = (~suited.isnan()).sum(0)
    away = suited - suited.nanmean(0)
    variance = away.square().nan_to_num(0).sum(0) / (known - 1).clamp_min(1)
    judged = known > 1
    if not judged.any():
        raise UserError(
            f"how reliable distances are can't be told: none of the {len(judged):,} pairs of stimuli was measured in 2 of"
            f" the {len(rdms)} subjects",
            hint="use pairs=equal",
        )
    floor = (FLOOR * variance[judged].mean()).clamp_min(1e-12)  # of z-scores: less is rounding
    weights = torch.where(judged, 1 / variance.clamp_min(floor), 0)
    return weights / weights[judged].mean()
