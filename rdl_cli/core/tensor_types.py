"""Names for tensors that give their shape in a signature."""

from typing import Annotated, NamedTuple

from torch import Tensor

Images = Annotated[Tensor, "n c h w"]
Labels = Annotated[Tensor, "n"]
Ids = Annotated[Tensor, "n"]
Logits = Annotated[Tensor, "n classes"]
Scalar = Annotated[Tensor, ""]
Reps = Annotated[Tensor, "n ..."]
"""Representations: n c h w of convolutions, which hints and attention need; distances flatten."""
Distances = Annotated[Tensor, "n m"]
Condensed = Annotated[Tensor, "p"]

UNLABELLED = -1
"""The label of an image whose label is hidden from the student."""


class Batch(NamedTuple):
    """Network inputs, each with its label, row in the data set's file, and view."""

    images: Images
    labels: Labels
    ids: Ids
    views: Ids
