"""Objectives that compare matched layers with a teacher: what they share, so that a family is little more than its formula."""

import math
from typing import ClassVar

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch, Condensed, Reps, Scalar
from rdl_cli.rsa.condensed import upper
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import Centring, Kernel, kernel
from rdl_cli.training.objective import Match, Objective, Setting, Step, Term
from rdl_cli.training.targets import Target


def teacher_of(setting: Setting, family: str) -> Target:
    """The setting's teacher; UserError where it has none."""
    if setting.target is None:
        raise UserError(f"the objective `{family}` needs a teacher", hint="say --targets STORE and --match mine=theirs")
    return setting.target


def checked_weight(family: str, **weights: float) -> None:
    """UserError for a weight below zero, or one that nothing can be multiplied by."""
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise UserError(f"`{family}` has {name}={weight}, which is no number to multiply by", hint="weights are 0 or more")
        if weight < 0:
            raise UserError(f"`{family}` has {name}={weight}; it would teach the opposite", hint="weights are 0 or more")


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


def wide(reps: Reps) -> Reps:
    """The representations in float32 at least: what mixed precision gives in 16 bits is compared in 32."""
    return reps.to(torch.promote_types(reps.dtype, torch.float32))


class Matched(Objective):
    """One term, or a few, for each match of a student's layer with a teacher's, computed in float32 at least."""

    only: ClassVar[Match | None] = None
    """The one layer that a family compares, where it is not --match that says so."""
    least: int = 1
    """Images without which there is nothing to compare."""

    def __init__(self, family: str, setting: Setting, weight: float):
        target = teacher_of(setting, family)
        matches = self.uses(setting.matches)
        if not matches:
            raise UserError(f"the objective `{family}` has no layers to compare", hint="say --match mine=theirs")
        checked_weight(family, weight=weight)
        super().__init__(tuple(match.mine for match in matches), target)
        self.family, self.teacher, self.matches, self.weight = family, target, matches, weight
        self.one = Batch(*(part[:1] for part in setting.calibration))
        """An image to ask the teacher about: what it can't tell is refused when the objective is made, not in the first step."""

    @classmethod
    def uses(cls, matches: tuple[Match, ...]) -> tuple[Match, ...]:
        """The matches that the family takes: all, or those of its one layer, which is matched with its namesake where none is said."""
        if cls.only is None:
            return matches
        return tuple(match for match in matches if match.mine == cls.only.mine) or (cls.only,)

    def check(self, epochs: int, images: int) -> None:
        if images < self.least:
            raise UserError(f"`{self.family}` compares {self.least} images at least; a step has {images}", hint="say a larger --batch-size")

    def terms(self, step: Step) -> dict[str, Term]:
        found = {}
        for match in self.matches:
            mine = step.reps[match.mine]
            with torch.autocast(mine.device.type, enabled=False):
                for name, term in self.compare(match, wide(mine), step.probe).items():
                    found[f"{name}/{match.mine}"] = term
        return found

    def measured(self, distance: str | None) -> dict[Match, tuple[str, str]]:
        """By match, the distance that measures the student and the one that the teacher is asked for. UserError where it has none."""
        found = {match: measures(self.teacher, match.theirs, distance) for match in self.matches}
        for match, (_, stored) in found.items():
            self.teacher.distances(match.theirs, self.one, stored)
        return found

    def compare(self, match: Match, mine: Reps, probe: Batch) -> dict[str, Term]:
        """The match's terms by name. Most families have one, their `loss`."""
        raise NotImplementedError


class OfActivations(Matched):
    """Compares activations. A teacher of which only RDMs are known is refused when the objective is made."""

    def __init__(self, family: str, setting: Setting, weight: float):
        super().__init__(family, setting, weight)
        self.shapes = {match: (setting.shapes[match.mine], self.teacher.shape(match.theirs)) for match in self.matches}

    def compare(self, match: Match, mine: Reps, probe: Batch) -> dict[str, Term]:
        return {self.family: Term(self.loss(mine, self.theirs(match, mine, probe)), self.weight)}

    def theirs(self, match: Match, mine: Reps, probe: Batch) -> Reps:
        return self.teacher.representations(match.theirs, probe).detach().to(mine.dtype)

    def loss(self, mine: Reps, theirs: Reps) -> Scalar:
        raise NotImplementedError


class OfKernels(Matched):
    """Compares kernels, which a teacher's activations give as well. A teacher of which only RDMs are known is refused when it is made."""

    least = 2

    def __init__(self, family: str, setting: Setting, weight: float, center: Centring = "none"):
        super().__init__(family, setting, weight)
        self.center: Centring = center
        for match in self.matches:
            self.teacher.kernel(match.theirs, self.one, center)

    def compare(self, match: Match, mine: Reps, probe: Batch) -> dict[str, Term]:
        theirs = self.teacher.kernel(match.theirs, probe, self.center).detach().to(mine.dtype)
        return {self.family: Term(self.loss(kernel(mine, self.center), theirs), self.weight)}

    def loss(self, mine: Kernel, theirs: Kernel) -> Scalar:
        raise NotImplementedError


class OfDistances(Matched):
    """Compares RDMs, so that a brain of which nothing else is known can be a teacher."""

    least = 3

    def __init__(self, family: str, setting: Setting, weight: float, distance: str | None):
        super().__init__(family, setting, weight)
        self.measures = self.measured(distance)

    def compare(self, match: Match, mine: Reps, probe: Batch) -> dict[str, Term]:
        return {self.family: Term(self.loss(*self.rdms(match, mine, probe)), self.weight)}

    def rdms(self, match: Match, mine: Reps, probe: Batch) -> tuple[Condensed, Condensed]:
        """The student's and the teacher's."""
        measure, stored = self.measures[match]
        pairs = upper(len(mine), mine.device)
        theirs = self.teacher.distances(match.theirs, probe, stored).detach().to(mine.dtype)
        return DISTANCES.find(measure)(mine, mine)[pairs], theirs[pairs]

    def loss(self, mine: Condensed, theirs: Condensed) -> Scalar:
        """From two RDMs in condensed order; theirs is NaN where it was not measured."""
        raise NotImplementedError
