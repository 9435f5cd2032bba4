"""Words for tensors: the signature tells the shape."""

from typing import Annotated, NamedTuple

from torch import Tensor

Images = Annotated[Tensor, "n c h w"]
Labels = Annotated[Tensor, "n"]
Ids = Annotated[Tensor, "n"]
Logits = Annotated[Tensor, "n classes"]
Scalar = Annotated[Tensor, ""]
Reps = Annotated[Tensor, "n ..."]
"""Representations: NCHW where there is space (hints and attention need it); distances flatten."""
Distances = Annotated[Tensor, "n m"]
Condensed = Annotated[Tensor, "p"]

UNLABELLED = -1
"""The label of an image whose label the student is not shown."""


class Batch(NamedTuple):
    """Images as the network takes them, with what is known of each: label, row in the data set's file, view."""

    images: Images
    labels: Labels
    ids: Ids
    views: Ids
