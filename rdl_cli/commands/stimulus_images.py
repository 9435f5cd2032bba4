"""Resize the images of a brain's stimuli to the input of a network."""

import torch
import torch.nn.functional as F
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Images
from rdl_cli.networks.factory import InputShape

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
"""Weights of red, green and blue in a grey image (ITU-R BT.601, as in Pillow)."""


def resize_to_network(images: Images, shape: InputShape) -> tuple[Images, str]:
    """Return uint8 images in the channels and size of a network's input, and the changes in words.

    UserError if the numbers of channels are not 1 and 3.
    """
    channels, height, width = images.shape[1:]
    changes = []
    if channels != shape.channels:
        if (channels, shape.channels) not in ((1, 3), (3, 1)):
            raise UserError(
                f"the stimuli have {channels} channels, the network takes {shape.channels}"
            )
        images = (
            images.expand(-1, 3, -1, -1)
            if channels == 1
            else _round((images.float() * LUMA).sum(1, keepdim=True))
        )
        changes.append("grey as RGB" if channels == 1 else "RGB made grey")
    size = (shape.height, shape.width)
    if (height, width) != size:
        scaled = [
            F.interpolate(block.float(), size, mode="bilinear", antialias=True, align_corners=False)
            for block in images.split(100)
        ]
        images = _round(torch.cat(scaled))
        same_proportions = height * size[1] == width * size[0]
        change = f"{height} × {width} pixels scaled to {size[0]} × {size[1]}"
        changes.append(change if same_proportions else f"{change}, their proportions changed")
    return images.contiguous(), ", ".join(changes) or "as they are"


def _round(pixels: Tensor) -> Images:
    return pixels.round().clamp(0, 255).to(torch.uint8)
