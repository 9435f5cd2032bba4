"""Augmentation as a finite, numbered set of views, so that a store can hold the target of exactly the picture that is shown."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn.functional import pad

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.core.tensor_types import Ids, Images

VIEWS = Registry("set of views", home="rdl_cli.datasets.augmentation", external=False)
"""A member is `function(*, options) -> Views`."""

MAX_SHIFT = 100
"""Pixels; every view has a name, and these are 40,401."""


@dataclass(frozen=True)
class Views:
    """`names[v]` says what view v shows; view 0 of every set is the picture itself and is called `identity`."""

    spec: str
    names: tuple[str, ...]
    show: Callable[[Images, Ids], Images]
    reach: int = 0
    """By how many pixels a picture moves at most."""

    def __len__(self) -> int:
        return len(self.names)

    def apply(self, images: Images, views: Ids) -> Images:
        """Each uint8 picture in its own view; what comes in is left as it is."""
        return self.show(images, views)


@VIEWS.register("none")
def none() -> Views:
    """One view, the picture itself: no augmentation."""
    return Views("none", ("identity",), lambda images, views: images)


@VIEWS.register("hflip")
def hflip() -> Views:
    """Two views: the picture and its mirror image."""

    def show(images: Images, views: Ids) -> Images:
        return torch.where((views == 1).view(-1, 1, 1, 1), images.flip(3), images)

    return Views("hflip", ("identity", "hflip"), show)


@VIEWS.register("shift", rest="pixels")
def shift(*, pixels: str) -> Views:
    """The picture moved by up to PIXELS in each direction, zeros moving in: 9 views for 1, 25 for 2."""
    if not pixels.isdecimal() or int(pixels) < 1:
        raise UserError(
            f"`shift:{pixels}` does not say by how many pixels",
            hint="shift:1 has 9 views, shift:2 has 25",
        )
    reach = int(pixels)
    if reach > MAX_SHIFT:
        raise UserError(
            f"`shift:{pixels}` has {(2 * reach + 1) ** 2:,} views",
            hint=f"pictures move by {MAX_SHIFT} pixels at most",
        )
    moves = [
        (down, right) for down in range(-reach, reach + 1) for right in range(-reach, reach + 1)
    ]
    moves.sort(key=lambda move: move != (0, 0))  # stable: the picture itself comes first
    names = ("identity", *(f"down {down:+d} right {right:+d}" for down, right in moves[1:]))

    @cache
    def corners(device: torch.device) -> torch.Tensor:
        return torch.tensor([(reach - down, reach - right) for down, right in moves], device=device)

    def show(images: Images, views: Ids) -> Images:
        height, width = images.shape[2:]
        windows = (
            pad(images, (reach, reach, reach, reach)).unfold(2, height, 1).unfold(3, width, 1)
        )  # n c top left h w, without a copy
        top, left = corners(images.device)[views].unbind(1)
        return windows[torch.arange(len(images), device=images.device), :, top, left]

    return Views(f"shift:{reach}", names, show, reach)
