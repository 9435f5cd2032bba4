"""A finite, numbered set of views, so that a store can hold the target of each."""

import torch
from torch import Tensor

from rdl_cli.datasets.augmentation import Views


def quarter_turns() -> Views:
    """Return four views: the image, and its rotations by 90, 180 and 270 degrees."""

    def transform(images: Tensor, views: Tensor) -> Tensor:
        turned = torch.stack([images.rot90(turns, (2, 3)) for turns in range(4)])
        return turned[views, torch.arange(len(images), device=images.device)]

    names = ("identity", "turn 90", "turn 180", "turn 270")
    return Views("rdl_example.views:quarter_turns", names, transform)
