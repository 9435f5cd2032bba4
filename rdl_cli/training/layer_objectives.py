"""Objectives that compare matched layers with a teacher: what they share, so that a family is little more than its formula."""

import math
from typing import ClassVar

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch, Condensed, Reps, Scalar
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import Centering, Kernel, inner_products
from rdl_cli.training.objective import LayerMatch, Objective, ObjectiveContext, StepContext, Term
from rdl_cli.training.targets import Target


def require_teacher(setting: ObjectiveContext, family: str) -> Target:
    """The setting's teacher; UserError where it has none."""
    if setting.target is None:
        raise UserError(
            f"the objective `{family}` needs a teacher",
            hint="say --targets STORE and --match mine=theirs",
        )
    return setting.target


def check_weight(family: str, **weights: float) -> None:
    """UserError for a weight below zero, or one that nothing can be multiplied by."""
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise UserError(
                f"`{family}` has {name}={weight}, which is no number to multiply by",
                hint="weights are 0 or more",
            )
        if weight < 0:
            raise UserError(
                f"`{family}` has {name}={weight}; it would teach the opposite",
                hint="weights are 0 or more",
            )


def measures(target: Target, layer: str, distance: str | None) -> tuple[str, str]:
    """The distance that measures the student, and the one to ask the target for: the same wherever that can be.

    A brain's RDM may be in a measure that no student has, such as crossnobis. It is taken as it is, and the student is
    measured by `distance`, which then has to be said; UserError where it is not.
    """
    stored = target.distance(layer)
    if stored in DISTANCES.names():
        return (distance or stored,) * 2
    if distance is None:
        called = f"in `{stored}`" if stored else "of an unknown measure"
        raise UserError(
            f"the RDM of `{layer}` is {called}, which no student can be measured in",
            hint=f"say by distance= how the student is measured, one of: {', '.join(DISTANCES.names())}",
        )
    return distance, stored


def upcast_float32(reps: Reps) -> Reps:
    """The representations in float32 at least: what mixed precision gives in 16 bits is compared in 32."""
    return reps.to(torch.promote_types(reps.dtype, torch.float32))


class LayerObjective(Objective):
    """One term, or a few, for each match of a student's layer with a teacher's, computed in float32 at least."""

    only: ClassVar[LayerMatch | None] = None
    """The one layer that a family compares, where it is not --match that says so."""
    least: int = 1
    """Images without which there is nothing to compare."""

    def __init__(self, family: str, setting: ObjectiveContext, weight: float):
        target = require_teacher(setting, family)
        matches = self.select_matches(setting.matches)
        if not matches:
            raise UserError(
                f"the objective `{family}` has no layers to compare", hint="say --match mine=theirs"
            )
        check_weight(family, weight=weight)
        super().__init__(tuple(match.student for match in matches), target)
        self.family, self.teacher, self.matches, self.weight = family, target, matches, weight
        self.one = Batch(*(part[:1] for part in setting.calibration))
        """An image to ask the teacher about: what it can't tell is refused when the objective is made, not in the first step."""

    @classmethod
    def select_matches(cls, matches: tuple[LayerMatch, ...]) -> tuple[LayerMatch, ...]:
        """The matches that the family takes: all, or those of its one layer, which is matched with its namesake where none is said."""
        if cls.only is None:
            return matches
        return tuple(match for match in matches if match.student == cls.only.student) or (cls.only,)

    def check(self, epochs: int, images: int) -> None:
        if images < self.least:
            raise UserError(
                f"`{self.family}` compares {self.least} images at least; a step has {images}",
                hint="say a larger --batch-size",
            )

    def terms(self, step: StepContext) -> dict[str, Term]:
        found = {}
        for match in self.matches:
            mine = step.reps[match.student]
            with torch.autocast(mine.device.type, enabled=False):
                for name, term in self.compare(
                    match, upcast_float32(mine), step.comparison_batch
                ).items():
                    found[f"{name}/{match.student}"] = term
        return found

    def measured(self, distance: str | None) -> dict[LayerMatch, tuple[str, str]]:
        """By match, the distance that measures the student and the one that the teacher is asked for. UserError where it has none."""
        found = {match: measures(self.teacher, match.teacher, distance) for match in self.matches}
        for match, (_, stored) in found.items():
            self.teacher.distances(match.teacher, self.one, stored)
        return found

    def compare(self, match: LayerMatch, mine: Reps, comparison_batch: Batch) -> dict[str, Term]:
        """The match's terms by name. Most families have one, their `loss`."""
        raise NotImplementedError


class ActivationObjective(LayerObjective):
    """Compares activations. A teacher of which only RDMs are known is refused when the objective is made."""

    def __init__(self, family: str, setting: ObjectiveContext, weight: float):
        super().__init__(family, setting, weight)
        self.shapes = {
            match: (setting.shapes[match.student], self.teacher.shape(match.teacher))
            for match in self.matches
        }

    def compare(self, match: LayerMatch, mine: Reps, comparison_batch: Batch) -> dict[str, Term]:
        return {
            self.family: Term(
                self.loss(mine, self.teacher_layer(match, mine, comparison_batch)), self.weight
            )
        }

    def teacher_layer(self, match: LayerMatch, mine: Reps, comparison_batch: Batch) -> Reps:
        return self.teacher.representations(match.teacher, comparison_batch).detach().to(mine.dtype)

    def loss(self, mine: Reps, theirs: Reps) -> Scalar:
        raise NotImplementedError


class KernelObjective(LayerObjective):
    """Compares kernels, which a teacher's activations give as well. A teacher of which only RDMs are known is refused when it is made."""

    least = 2

    def __init__(
        self, family: str, setting: ObjectiveContext, weight: float, center: Centering = "none"
    ):
        super().__init__(family, setting, weight)
        self.center: Centering = center
        for match in self.matches:
            self.teacher.kernel(match.teacher, self.one, center)

    def compare(self, match: LayerMatch, mine: Reps, comparison_batch: Batch) -> dict[str, Term]:
        theirs = (
            self.teacher.kernel(match.teacher, comparison_batch, self.center)
            .detach()
            .to(mine.dtype)
        )
        return {
            self.family: Term(self.loss(inner_products(mine, self.center), theirs), self.weight)
        }

    def loss(self, mine: Kernel, theirs: Kernel) -> Scalar:
        raise NotImplementedError


class RdmObjective(LayerObjective):
    """Compares RDMs, so that a brain of which nothing else is known can be a teacher."""

    least = 3

    def __init__(self, family: str, setting: ObjectiveContext, weight: float, distance: str | None):
        super().__init__(family, setting, weight)
        self.measures = self.measured(distance)

    def compare(self, match: LayerMatch, mine: Reps, comparison_batch: Batch) -> dict[str, Term]:
        return {
            self.family: Term(self.loss(*self.rdms(match, mine, comparison_batch)), self.weight)
        }

    def rdms(
        self, match: LayerMatch, mine: Reps, comparison_batch: Batch
    ) -> tuple[Condensed, Condensed]:
        """The student's and the teacher's."""
        measure, stored = self.measures[match]
        pairs = condensed_pairs(len(mine), mine.device)
        theirs = (
            self.teacher.distances(match.teacher, comparison_batch, stored).detach().to(mine.dtype)
        )
        return DISTANCES.find(measure)(mine, mine)[pairs], theirs[pairs]

    def loss(self, mine: Condensed, theirs: Condensed) -> Scalar:
        """From two RDMs in condensed order; theirs is NaN where it was not measured."""
        raise NotImplementedError
