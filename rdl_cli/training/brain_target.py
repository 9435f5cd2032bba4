"""A target with stimuli of its own, which are not the task's images: a brain's RDMs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import UNLABELLED, Batch, Condensed, Distances, Ids, Images, Reps
from rdl_cli.rsa.condensed import condensed_pairs, n_from_pairs, pair_index, to_square
from rdl_cli.rsa.kernels import Centering, Kernel
from rdl_cli.rsa.noise_ceiling import SubjectRdms
from rdl_cli.rsa.noise_ceiling import reliability

LEAST = 4
"""Stimuli that RDMs must have to be compared: three have three distances, which chance orders alike one time in six."""
CALIBRATION = 1000
"""Stimuli on which a target's size is measured, at most."""


@dataclass(frozen=True, eq=False)
class Region:
    """What was measured: the RDM to follow, its distance, and each subject's RDM where it is the mean of several. NaN = not measured."""

    rdm: Condensed
    distance: str
    subjects: SubjectRdms | None = None

    def among(self, rows: Ids) -> "Region":
        """The region's RDMs of some of its stimuli, in this order."""
        i, j = condensed_pairs(len(rows))
        pairs = pair_index(rows[i], rows[j], n_from_pairs(len(self.rdm)))
        return Region(
            self.rdm[pairs],
            self.distance,
            None if self.subjects is None else self.subjects[:, pairs],
        )


class BrainTarget:
    """RDMs over pictures of the target's own, of which each step shows the student some: all where `per_step` is not said.

    `images` are uint8, of the size that the network takes. `held_out` are rows of stimuli that never enter training. `control`
    destroys what is taught, from the RDM of the other stimuli and their rows; what the student is compared with stays as it was
    measured. UserError for fewer stimuli than an RDM needs.
    """

    def __init__(
        self,
        images: Images,
        preprocess: Callable[[Images], Images],
        regions: dict[str, Region],
        held_out: Ids,
        per_step: int | None = None,
        control: Callable[[Condensed, Ids], Condensed] | None = None,
    ):
        self.layers, self.regions, self.held_out = tuple(regions), regions, held_out
        self._images, self._preprocess = images, preprocess
        n = len(images)
        left = torch.ones(n, dtype=torch.bool)
        left[held_out] = False
        self.taught = left.nonzero().flatten()
        if len(self.taught) < LEAST or 0 < len(held_out) < LEAST:
            fact = f"{len(self.taught)} stimuli are left to teach with and {len(held_out)} held out; an RDM needs {LEAST}"
            raise UserError(fact, hint=f"there are {n}; say another --stimuli-heldout")
        self.per_step = len(self.taught) if per_step is None else per_step
        if not LEAST <= self.per_step <= len(self.taught):
            fact = f"--stimuli-batch-size is {per_step}; an RDM needs {LEAST}, and there are {len(self.taught)} to teach with"
            raise UserError(fact, hint="leave it out to show them all in each step")
        taught = {layer: region.among(self.taught) for layer, region in regions.items()}
        self._rdms = {
            layer: self._over_all(control(each.rdm, self.taught) if control else each.rdm)
            for layer, each in taught.items()
        }
        self._weights = {
            layer: self._over_all(reliability(each.subjects))
            for layer, each in taught.items()
            if each.subjects is not None
        }

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        if self.per_step == len(self.taught):
            return self._everything
        return self.show(
            self.taught[torch.randperm(len(self.taught), generator=rng)[: self.per_step]]
        )

    def show(self, rows: Ids) -> Batch:
        """Some of the stimuli, as the network takes them."""
        rows = rows.to(self._images.device)
        return Batch(
            self._preprocess(self._images[rows]),
            torch.full_like(rows, UNLABELLED),
            rows,
            torch.zeros_like(rows),
        )

    @property
    def calibration(self) -> Batch:
        """Stimuli of those that are taught with, to measure a target's size on."""
        return self.show(self.taught[:CALIBRATION])

    def distance(self, layer: str) -> str:
        return self.regions[layer].distance

    def distances(self, layer: str, comparison_batch: Batch, distance: str) -> Distances:
        if distance != self.distance(layer):
            raise UserError(
                f"the RDM `{layer}` is in `{self.distance(layer)}`; the objective asks for `{distance}`"
            )
        return self._rdms[layer][comparison_batch.ids[:, None], comparison_batch.ids]

    def weights(self, layer: str, comparison_batch: Batch) -> Distances:
        """What each pair is to count, by how subjects agree on it. UserError where there are no subjects to tell."""
        if layer not in self._weights:
            raise UserError(
                f"`{layer}` is one RDM, which does not tell how reliable its distances are",
                hint=f"follow the mean of subjects: {layer}@mean",
            )
        return self._weights[layer][comparison_batch.ids[:, None], comparison_batch.ids]

    def kernel(self, layer: str, comparison_batch: Batch, center: Centering) -> Kernel:
        raise self._rdms_only(layer)

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        raise self._rdms_only(layer)

    def shape(self, layer: str) -> tuple[int, ...]:
        raise self._rdms_only(layer)

    def _rdms_only(self, layer: str) -> UserError:
        return UserError(
            f"of `{layer}` only an RDM is known; this objective needs activations",
            hint="use rsa, cosine, whitened or rdl:fit=scale",
        )

    @cached_property
    def _everything(self) -> Batch:
        return self.show(self.taught)

    def _over_all(self, taught: Condensed) -> Distances:
        """A square over all stimuli, NaN where one is held out, so that nothing of theirs can be taught."""
        matrix = torch.full((len(self._images),) * 2, torch.nan)
        matrix[self.taught[:, None], self.taught] = to_square(taught.float())
        return matrix.to(self._images.device)
