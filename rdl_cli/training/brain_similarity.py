"""How like a brain a student is, over the stimuli that it was taught with and those that were held out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rdl_cli.core.tensor_types import Condensed, Ids, Reps
from rdl_cli.rsa.condensed import upper
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.measures import pearson, spearman
from rdl_cli.rsa.noise_ceiling import noise_ceiling
from rdl_cli.training.brain_target import Region, StimulusTarget
from rdl_cli.training.loop import Learner
from rdl_cli.training.objective import Match, Objective

BLOCK = 250
"""Stimuli in a forward pass."""


class Resemblance(NamedTuple):
    """How alike the RDMs of a layer and a region are.

    `spearman` and `pearson` are those with the RDM that was measured, also where a control of it was taught. `subjects` is the mean
    Spearman correlation with each subject, which the noise ceiling (Nili et al. 2014) from `lower` to `upper` is for. The network is the
    exported one; `apart` is `spearman` with the batch-norm statistics that the stimuli have to themselves in training.
    """

    spearman: float
    pearson: float
    apart: float
    subjects: float | None = None
    lower: float | None = None
    upper: float | None = None


class Judge:
    """Compares a learner's layers with the RDMs that they follow: `judge(learner)`."""

    def __init__(self, target: StimulusTarget, objectives: Sequence[Objective]):
        self.target = target
        self.distances: dict[Match, str] = {}
        for objective in objectives:
            if objective.target is target:
                self.distances |= {match: student for match, (student, _) in getattr(objective, "measures", {}).items()}
        self.rows: dict[str, Ids] = {"taught": target.taught} | ({"held-out": target.held_out} if len(target.held_out) else {})
        self.regions = {
            (kind, match): target.regions[match.theirs].among(rows) for kind, rows in self.rows.items() for match in self.distances
        }
        self._ceilings = {key: _ceiling(region) for key, region in self.regions.items()}

    def __call__(self, learner: Learner) -> dict[tuple[str, Match], Resemblance]:
        """By kind of stimuli, `taught` or `held-out`, and match."""
        layers = [match.mine for match in self.distances]
        found = {}
        for kind, rows in self.rows.items():
            exported, apart = (_seen(learner, self.target, rows, layers, apart=apart) for apart in (False, True))
            for match, distance in self.distances.items():
                region = self.regions[kind, match]
                mine, own = (_rdm(seen[match.mine], distance) for seen in (exported, apart))
                subjects = None if region.subjects is None else float(spearman(mine, region.subjects).mean())
                low, high = self._ceilings[kind, match]
                found[kind, match] = Resemblance(
                    spearman=float(spearman(mine, region.rdm)),
                    pearson=float(pearson(mine, region.rdm)),
                    apart=float(spearman(own, region.rdm)),
                    subjects=subjects,
                    lower=low,
                    upper=high,
                )
        return found


def _seen(learner: Learner, target: StimulusTarget, rows: Ids, layers: Sequence[str], apart: bool) -> dict[str, Reps]:
    blocks = [learner.look(target.show(block).images, layers, apart) for block in rows.split(BLOCK)]
    return {layer: torch.cat([block[layer] for block in blocks]) for layer in layers}


def _rdm(reps: Reps, distance: str) -> Condensed:
    return DISTANCES.find(distance)(reps, reps)[upper(len(reps), reps.device)].cpu()


def _ceiling(region: Region) -> tuple[float, float] | tuple[None, None]:
    if region.subjects is None:
        return None, None
    ceiling = noise_ceiling(spearman, region.subjects)
    return float(ceiling.lower), float(ceiling.upper)
