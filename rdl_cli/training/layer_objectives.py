"""Base classes of objectives that compare layers of the student with layers of a teacher."""

import math
from typing import ClassVar

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch, Condensed, Reps, Scalar
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import Centering, Kernel, inner_products
from rdl_cli.training.objective import LayerMatch, Objective, ObjectiveContext, StepContext, Term
from rdl_cli.training.targets import Target, TeacherDistances
from rdl_cli.training.teacher_checks import (
    check_activations,
    check_distances,
    check_kernel,
    check_varying,
)

SAMPLE_SIZE = 64
"""Images on which a teacher is checked before training."""


def require_target(context: ObjectiveContext, family: str) -> Target:
    """Return the context's target. UserError if it has none."""
    if context.target is None:
        raise UserError(
            f"the objective `{family}` needs a teacher",
            hint="pass --targets STORE and --match STUDENT=TEACHER",
        )
    return context.target


def check_weight(family: str, **weights: float) -> None:
    """Raise UserError if a weight is negative or not finite."""
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(
                f"`{family}` has {name}={weight}; a weight must be finite and not negative",
                hint="weights are 0 or more",
            )


def upcast_float32(reps: Reps) -> Reps:
    """Return the representations in float32 at least, so that 16-bit layers are compared in 32."""
    return reps.to(torch.promote_types(reps.dtype, torch.float32))


class LayerObjective(Objective):
    """One term, or a few, for each match, computed in float32 at least.

    `default_match` is the only match of a family that compares one fixed layer. `min_images` is
    the number of images that a comparison needs.
    """

    default_match: ClassVar[LayerMatch | None] = None
    min_images: int = 1

    def __init__(self, family: str, context: ObjectiveContext, weight: float):
        target = require_target(context, family)
        matches = self.select_matches(context.matches)
        if not matches:
            raise UserError(
                f"the objective `{family}` has no layers to compare",
                hint="pass --match STUDENT=TEACHER",
            )
        check_weight(family, weight=weight)
        super().__init__(tuple(match.student for match in matches), target)
        self.family, self.teacher, self.matches, self.weight = family, target, matches, weight
        # with a few images the target is asked here for all that it will be asked for in a step,
        # so that a refusal comes before training
        self.sample = Batch(*(part[:SAMPLE_SIZE] for part in context.calibration))
        for match in matches:
            try:
                reps = target.representations(match.teacher, self.sample)
            except UserError:  # only RDMs or kernels are known; they are checked below
                continue
            check_activations(match.teacher, reps)

    @classmethod
    def select_matches(cls, matches: tuple[LayerMatch, ...]) -> tuple[LayerMatch, ...]:
        """Return all matches, or those of the family's one layer, by default its namesake."""
        default = cls.default_match
        if default is None:
            return matches
        return tuple(match for match in matches if match.student == default.student) or (default,)

    def check(self, epochs: int, images: int) -> None:
        if images < self.min_images:
            raise UserError(
                f"`{self.family}` compares at least {self.min_images} images; a step has {images}",
                hint="pass a larger --batch-size",
            )

    def terms(self, step: StepContext) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        for match in self.matches:
            reps = step.reps[match.student]
            with torch.autocast(reps.device.type, enabled=False):
                compared = self.compare(match, upcast_float32(reps), step.comparison_batch)
            terms |= {f"{name}/{match.student}": term for name, term in compared.items()}
        return terms

    def fix_distances(self, distance: str | None) -> dict[LayerMatch, TeacherDistances]:
        """Return the teacher's distances by match, and set `student_distances`.

        The student is measured by `distance`, or as the teacher is. UserError if the teacher's
        RDM is in a measure that no student has, and `distance` is not given.
        """
        fixed = {m: self.teacher.fix_distance(m.teacher, distance) for m in self.matches}
        for match, teacher in fixed.items():
            if distance is None and teacher.distance not in DISTANCES.names():
                name = f"in `{teacher.distance}`" if teacher.distance else "of an unknown measure"
                raise UserError(
                    f"the RDM of `{match.teacher}` is {name}, which no student can be measured in",
                    hint=f"choose the student's distance=: {', '.join(DISTANCES.names())}",
                )
            self.student_distances[match] = distance or teacher.distance
            check_distances(teacher, self.sample)
        return fixed

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        """Return the match's terms by name. Most families have one, their `loss`."""
        raise NotImplementedError


class ActivationObjective(LayerObjective):
    """Compares activations. UserError if only the teacher's RDMs or kernels are known."""

    def __init__(self, family: str, context: ObjectiveContext, weight: float):
        super().__init__(family, context, weight)
        self.shapes = {
            match: (context.shapes[match.student], self.teacher.shape(match.teacher))
            for match in self.matches
        }

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        teacher = self.teacher_layer(match, student, comparison_batch)
        return {self.family: Term(self.loss(student, teacher), self.weight)}

    def teacher_layer(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> Reps:
        """Return the teacher's activations in the student's dtype."""
        reps = self.teacher.representations(match.teacher, comparison_batch)
        return reps.detach().to(student.dtype)

    def loss(self, student: Reps, teacher: Reps) -> Scalar:
        raise NotImplementedError


class KernelObjective(LayerObjective):
    """Compares kernels, stored or from activations. UserError if only RDMs are known."""

    min_images = 2

    def __init__(
        self, family: str, context: ObjectiveContext, weight: float, center: Centering = "none"
    ):
        super().__init__(family, context, weight)
        self.center: Centering = center
        for match in self.matches:
            check_kernel(match.teacher, self.teacher.kernel(match.teacher, self.sample, center))

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        kernel = self.teacher.kernel(match.teacher, comparison_batch, self.center)
        teacher = kernel.detach().to(student.dtype)
        return {
            self.family: Term(self.loss(inner_products(student, self.center), teacher), self.weight)
        }

    def loss(self, student: Kernel, teacher: Kernel) -> Scalar:
        raise NotImplementedError


class RdmObjective(LayerObjective):
    """Compares RDMs, so that a brain's RDM can be the teacher."""

    min_images = 3

    def __init__(self, family: str, context: ObjectiveContext, weight: float, distance: str | None):
        super().__init__(family, context, weight)
        self.teacher_distances = self.fix_distances(distance)
        for teacher in self.teacher_distances.values():
            check_varying(teacher, self.sample)

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        rdms = self.measure_rdms(match, student, comparison_batch)
        return {self.family: Term(self.loss(*rdms), self.weight)}

    def measure_rdms(
        self, match: LayerMatch, student: Reps, comparison_batch: Batch
    ) -> tuple[Condensed, Condensed]:
        """Return the student's and the teacher's RDM."""
        pairs = condensed_pairs(len(student), student.device)
        teacher = self.teacher_distances[match](comparison_batch).detach().to(student.dtype)
        distance = DISTANCES.find(self.student_distances[match])
        return distance(student, student)[pairs], teacher[pairs]

    def loss(self, student: Condensed, teacher: Condensed) -> Scalar:
        """Return the loss of two RDMs in condensed order; the teacher's NaN is not measured."""
        raise NotImplementedError
