"""Representational similarity analysis as a loss: one minus how alike two RDMs are, so no unit of the teacher's matters."""

from rdl_cli.core.shapes import Condensed, Scalar
from rdl_cli.geometry import similarity
from rdl_cli.learning.matched import OfDistances
from rdl_cli.learning.objective import OBJECTIVES, Setting


@OBJECTIVES.register("rsa")
class Rsa(OfDistances):
    """One minus Pearson's r between the RDMs: blind to the scale of either, and to an offset common to all pairs.

    `distance` measures the student, and the teacher too where its activations are stored; otherwise its RDM's own is used.
    """

    def __init__(self, setting: Setting, *, weight: float = 1.0, distance: str | None = None):
        super().__init__("rsa", setting, weight, distance)

    def loss(self, mine: Condensed, theirs: Condensed) -> Scalar:
        return 1 - similarity.pearson(mine, theirs)


@OBJECTIVES.register("cosine")
class Cosine(OfDistances):
    """One minus the cosine between the RDMs: blind to scale, not to an offset, for distances whose zero means something (crossnobis)."""

    def __init__(self, setting: Setting, *, weight: float = 1.0, distance: str | None = None):
        super().__init__("cosine", setting, weight, distance)

    def loss(self, mine: Condensed, theirs: Condensed) -> Scalar:
        return 1 - similarity.cosine(mine, theirs)


@OBJECTIVES.register("whitened")
class Whitened(OfDistances):
    """One minus the cosine between the RDMs that accounts for their entries' correlated noise (Diedrichsen et al. 2020).

    For squared Euclidean RDMs it is one minus linear CKA, from distances alone.
    """

    def __init__(self, setting: Setting, *, weight: float = 1.0, distance: str | None = None):
        super().__init__("whitened", setting, weight, distance)

    def loss(self, mine: Condensed, theirs: Condensed) -> Scalar:
        return 1 - similarity.whitened_cosine(mine, theirs)
