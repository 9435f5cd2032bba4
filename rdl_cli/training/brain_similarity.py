"""The similarity of a student's layers to a brain, over training and held-out stimuli."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rdl_cli.core.tensor_types import Condensed, Ids, Reps
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.measures import pearson, spearman
from rdl_cli.rsa.noise_ceiling import noise_ceiling
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.objective import LayerMatch, Objective
from rdl_cli.training.student import StudentModule

FORWARD_BATCH = 250
"""Stimuli in a forward pass."""


class BrainSimilarity(NamedTuple):
    """Similarity of a layer's RDM to a region's RDM, as measured and not as a control changed it.

    `mean_subject_spearman` is the mean correlation with each subject; compare it with the noise
    ceiling (Nili et al. 2014). The network is the exported one, except in `spearman_stimulus_bn`,
    where it has the batch-norm statistics of the stimuli.
    """

    spearman: float
    pearson: float
    spearman_stimulus_bn: float
    mean_subject_spearman: float | None = None
    noise_ceiling_lower: float | None = None
    noise_ceiling_upper: float | None = None


class RegionRdms(NamedTuple):
    """A region's RDM over some stimuli, and those of its subjects with their noise ceiling."""

    rdm: Condensed
    subjects: torch.Tensor | None
    ceiling: tuple[float | None, float | None]


class BrainSimilarityEvaluator:
    """Measures the brain similarity of a module's layers to the regions that they follow."""

    def __init__(self, target: BrainTarget, objectives: Sequence[Objective]):
        self.target = target
        self.distances: dict[LayerMatch, str] = {}
        for objective in objectives:
            if objective.target is target:
                self.distances |= objective.student_distances
        self.rows: dict[str, Ids] = {"train": target.train_stimuli}
        if len(target.heldout_stimuli):
            self.rows["heldout"] = target.heldout_stimuli
        self._regions = {
            (split, match): self._subset_region(match.teacher, rows)
            for split, rows in self.rows.items()
            for match in self.distances
        }

    def _subset_region(self, region: str, rows: Ids) -> RegionRdms:
        rdm = self.target.rdms[region].subset(rows.numpy()).tensor()[0]
        if region not in self.target.subjects:
            return RegionRdms(rdm, None, (None, None))
        subjects = self.target.subjects[region].subset(rows.numpy()).tensor()
        ceiling = noise_ceiling(spearman, subjects)
        return RegionRdms(rdm, subjects, (float(ceiling.lower), float(ceiling.upper)))

    def __call__(self, module: StudentModule) -> dict[tuple[str, LayerMatch], BrainSimilarity]:
        """Return the similarities by split of the stimuli, `train` or `heldout`, and match."""
        layers = [match.student for match in self.distances]
        similarities = {}
        for split, rows in self.rows.items():
            exported, stimulus_bn = (
                self._read_layers(module, rows, layers, stimulus_batchnorm)
                for stimulus_batchnorm in (False, True)
            )
            for match, distance in self.distances.items():
                region = self._regions[split, match]
                rdm = _measure_rdm(exported[match.student], distance)
                rdm_stimulus_bn = _measure_rdm(stimulus_bn[match.student], distance)
                lower, upper = region.ceiling
                similarities[split, match] = BrainSimilarity(
                    spearman=float(spearman(rdm, region.rdm)),
                    pearson=float(pearson(rdm, region.rdm)),
                    spearman_stimulus_bn=float(spearman(rdm_stimulus_bn, region.rdm)),
                    mean_subject_spearman=None
                    if region.subjects is None
                    else float(spearman(rdm, region.subjects).mean()),
                    noise_ceiling_lower=lower,
                    noise_ceiling_upper=upper,
                )
        return similarities

    def _read_layers(
        self, module: StudentModule, rows: Ids, layers: Sequence[str], stimulus_batchnorm: bool
    ) -> dict[str, Reps]:
        blocks = [
            module.read_layers(self.target.show(block).images, layers, stimulus_batchnorm)
            for block in rows.split(FORWARD_BATCH)
        ]
        return {layer: torch.cat([block[layer] for block in blocks]) for layer in layers}


def _measure_rdm(reps: Reps, distance: str) -> Condensed:
    return DISTANCES.find(distance)(reps, reps)[condensed_pairs(len(reps), reps.device)].cpu()
