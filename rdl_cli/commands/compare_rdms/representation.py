"""One representation to compare: activations, RDMs or a kernel, and what measures take of it."""

from dataclasses import dataclass
from typing import Literal

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import NameSource
from rdl_cli.core.tensor_types import Reps
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import (
    Centering,
    Kernel,
    apply_centering,
    inner_products,
    kernel_distances,
    kernel_from_rdm,
)
from rdl_cli.rsa.measures import Measure, measure_traits
from rdl_cli.rsa.rdms import n_from_pairs

SQUARED_POWERS = {"sqeuclidean": 1, "mse": 1, "mahalanobis": 1, "euclidean": 2}
"""Distances whose power is squared Euclidean, so that their RDM has a kernel."""


@dataclass(frozen=True, eq=False)
class Representation:
    """One representation of n stimuli; exactly one of `reps`, `rdms` and `kernel` is given.

    Args:
        name: unique in a comparison.
        description: its layer, and the RDMs that were selected or averaged.
        distance: of its RDMs, or the store's default for its activations or kernel.
        reps: activations `n ...`.
        rdms: in condensed order, `subjects p`.
        kernel: inner products `n n`, over `units` units.
        subjects: the store and name of each subject, if there are several.
    """

    name: str
    description: str
    distance: str
    reps: Reps | None = None
    rdms: torch.Tensor | None = None
    kernel: Kernel | None = None
    units: int = 0
    subjects: tuple[tuple[str, str], ...] = ()

    @property
    def n_stimuli(self) -> int:
        if self.rdms is not None:
            return n_from_pairs(self.rdms.shape[1])
        rows = self.reps if self.kernel is None else self.kernel
        assert rows is not None, "a representation has activations, RDMs or a kernel"
        return len(rows)

    @property
    def n_subjects(self) -> int:
        return max(1, len(self.subjects))

    @property
    def kind(self) -> Literal["activations", "RDM", "kernel"]:
        if self.rdms is not None:
            return "RDM"
        return "activations" if self.kernel is None else "kernel"

    def choose_distance(self, distance: str) -> str:
        """Return the distance of the RDM: the given one if the RDM is computed, else its own."""
        if distance and self.rdms is None:
            return distance
        if self.reps is not None:  # UserError if the file names code
            DISTANCES.find(self.distance, NameSource(f"the store of `{self.name}`"))
        return self.distance

    def to_measure_input(self, measure: Measure, distance: str = "") -> torch.Tensor:
        """Return what a measure compares, in float64: RDMs `subjects p` or kernels `subjects n n`.

        Args:
            measure: a registered measure.
            distance: between activations; the representation's own if "".

        Raises:
            UserError: an RDM has no kernel, or a kernel not this distance.
        """
        traits = measure_traits(measure)
        if traits.input == "rdm":
            return self._to_rdms(self.choose_distance(distance))
        return self._to_kernels(traits.centering, traits.bayesian)

    def _to_rdms(self, distance: str) -> torch.Tensor:
        if self.rdms is not None:
            return self.rdms
        if self.reps is not None:
            reps = self.reps.double()
            matrix = DISTANCES.find(distance)(reps, reps)
        else:
            assert self.kernel is not None, "a representation has activations, RDMs or a kernel"
            matrix = kernel_distances(self.kernel, distance, self.units)
        return matrix[condensed_pairs(self.n_stimuli)][None]

    def _to_kernels(self, center: Centering, bayesian: bool) -> torch.Tensor:
        if self.reps is not None:
            return inner_products(self.reps.double(), center)[None]
        if self.kernel is not None:
            return apply_centering(self.kernel, center)[None]
        assert self.rdms is not None, "a representation has activations, RDMs or a kernel"
        power = SQUARED_POWERS.get(self.distance)
        if power is None or self.rdms.isnan().any():
            why = (
                f"in `{self.distance or 'an unknown distance'}`"
                if power is None
                else "with missing distances"
            )
            raise UserError(
                f"only the RDM of `{self.name}` is known, {why}; kernels come from squared"
                " Euclidean distances",
                hint="--measure whitened-cosine is CKA of RDMs in any distance; or store"
                " activations",
            )
        if center != "stimuli":
            raise UserError(
                f"the kernel of the RDM `{self.name}` is one around the mean stimulus; the measure"
                f" is to center `{center}`",
                hint="add the option center=stimuli to the measure",
            )
        kernels = kernel_from_rdm(self.rdms**power)
        if bayesian:
            self._check_eigenvalues(kernels)
        return kernels

    def _check_eigenvalues(self, kernels: torch.Tensor) -> None:
        """Raise UserError if an eigenvalue is negative: no patterns have such distances."""
        lowest, *_, highest = torch.linalg.eigvalsh(kernels).flatten().sort().values
        if lowest < -1e-6 * highest:
            raise UserError(
                f"the RDM of `{self.name}` is called `{self.distance}`, but no patterns have such"
                f" distances: its kernel has the eigenvalue {lowest:.3g} beside {highest:.3g}",
                hint="compare it by whitened-cosine",
            )
