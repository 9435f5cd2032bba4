"""How like a brain a student is, over the stimuli that it was taught with and those that were held out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rdl_cli.core.tensor_types import Condensed, Ids, Reps
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.measures import pearson, spearman
from rdl_cli.rsa.noise_ceiling import noise_ceiling
from rdl_cli.training.brain_target import BrainTarget, Region
from rdl_cli.training.loop import StudentModule
from rdl_cli.training.objective import LayerMatch, Objective

BLOCK = 250
"""Stimuli in a forward pass."""


class BrainSimilarity(NamedTuple):
    """How alike the RDMs of a layer and a region are.

    `spearman` and `pearson` are those with the RDM that was measured, also where a control of it was taught. `subjects` is the mean
    Spearman correlation with each subject, which the noise ceiling (Nili et al. 2014) from `lower` to `upper` is for. The network is the
    exported one; `apart` is `spearman` with the batch-norm statistics that the stimuli have to themselves in training.
    """

    spearman: float
    pearson: float
    spearman_stimulus_bn: float
    mean_subject_spearman: float | None = None
    noise_ceiling_lower: float | None = None
    noise_ceiling_upper: float | None = None


class BrainSimilarityEvaluator:
    """Compares a module's layers with the RDMs that they follow: `judge(module)`."""

    def __init__(self, target: BrainTarget, objectives: Sequence[Objective]):
        self.target = target
        self.distances: dict[LayerMatch, str] = {}
        for objective in objectives:
            if objective.target is target:
                self.distances |= {
                    match: student
                    for match, (student, _) in getattr(objective, "measures", {}).items()
                }
        self.rows: dict[str, Ids] = {"taught": target.taught} | (
            {"held-out": target.held_out} if len(target.held_out) else {}
        )
        self.regions = {
            (kind, match): target.regions[match.teacher].among(rows)
            for kind, rows in self.rows.items()
            for match in self.distances
        }
        self._ceilings = {key: _ceiling(region) for key, region in self.regions.items()}

    def __call__(self, module: StudentModule) -> dict[tuple[str, LayerMatch], BrainSimilarity]:
        """By kind of stimuli, `taught` or `held-out`, and match."""
        layers = [match.student for match in self.distances]
        found = {}
        for kind, rows in self.rows.items():
            exported, apart = (
                _seen(module, self.target, rows, layers, apart=apart) for apart in (False, True)
            )
            for match, distance in self.distances.items():
                region = self.regions[kind, match]
                mine, own = (_rdm(seen[match.student], distance) for seen in (exported, apart))
                subjects = (
                    None
                    if region.subjects is None
                    else float(spearman(mine, region.subjects).mean())
                )
                low, high = self._ceilings[kind, match]
                found[kind, match] = BrainSimilarity(
                    spearman=float(spearman(mine, region.rdm)),
                    pearson=float(pearson(mine, region.rdm)),
                    spearman_stimulus_bn=float(spearman(own, region.rdm)),
                    mean_subject_spearman=subjects,
                    noise_ceiling_lower=low,
                    noise_ceiling_upper=high,
                )
        return found


def _seen(
    module: StudentModule, target: BrainTarget, rows: Ids, layers: Sequence[str], apart: bool
) -> dict[str, Reps]:
    blocks = [
        module.read_layers(target.show(block).images, layers, apart) for block in rows.split(BLOCK)
    ]
    return {layer: torch.cat([block[layer] for block in blocks]) for layer in layers}


def _rdm(reps: Reps, distance: str) -> Condensed:
    return DISTANCES.find(distance)(reps, reps)[condensed_pairs(len(reps), reps.device)].cpu()


def _ceiling(region: Region) -> tuple[float, float] | tuple[None, None]:
    if region.subjects is None:
        return None, None
    ceiling = noise_ceiling(spearman, region.subjects)
    return float(ceiling.lower), float(ceiling.upper)
