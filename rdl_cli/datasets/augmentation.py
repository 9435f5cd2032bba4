"""Augmentation as a finite, numbered set of views, so that a store can hold the target of each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any

import torch
from torch.nn.functional import pad

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import TYPED, NameSource, Registry
from rdl_cli.core.tensor_types import Ids, Images


class ViewsRegistry(Registry):
    """Sets of views by name. Specs joined by + are all combinations: `hflip+shift:4`."""

    def find(self, spec: str, source: NameSource = TYPED) -> Callable[..., Any]:
        first, plus, rest = spec.partition("+")
        if not plus:
            return super().find(spec, source)
        return partial(combine, super().find(first, source), self.find(rest, source))


VIEWS = ViewsRegistry("set of views", home="rdl_cli.datasets.augmentation")
"""A member is `function(*, options) -> Views`."""

IDENTITY = "identity"
"""The name of view 0, the image itself."""

MAX_SHIFT = 100
"""Pixels; every view has a name, and these are 40,401."""


@dataclass(frozen=True)
class Views:
    """Views by number: `names[v]` describes view v; view 0 is the image itself, `identity`.

    `transform` maps images and view numbers to images. `max_shift` is in pixels.
    """

    spec: str
    names: tuple[str, ...]
    transform: Callable[[Images, Ids], Images]
    max_shift: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def apply(self, images: Images, views: Ids) -> Images:
        """Return each uint8 image in its own view; the input is not changed."""
        return self.transform(images, views)


def combine(make_first: Callable[[], Views], make_second: Callable[[], Views]) -> Views:
    """Return all combinations of two sets of views, the second applied to the first's images.

    View f·n + s is view f of the first set and s of the second, which has n.
    """
    first, second = make_first(), make_second()
    n = len(second)
    names = tuple(
        ", ".join(name for name in pair if name != IDENTITY) or IDENTITY
        for pair in product(first.names, second.names)
    )

    def transform(images: Images, views: Ids) -> Images:
        return second.apply(first.apply(images, views // n), views % n)

    spec = f"{first.spec}+{second.spec}"
    return Views(spec, names, transform, first.max_shift + second.max_shift)


@VIEWS.register("none")
def none() -> Views:
    """One view, the image itself: no augmentation."""
    return Views("none", (IDENTITY,), lambda images, views: images)


@VIEWS.register("hflip")
def hflip() -> Views:
    """Two views: the image and its mirror image."""

    def transform(images: Images, views: Ids) -> Images:
        return torch.where((views == 1).view(-1, 1, 1, 1), images.flip(3), images)

    return Views("hflip", (IDENTITY, "hflip"), transform)


@VIEWS.register("shift", rest="pixels")
def shift(*, pixels: str) -> Views:
    """The image shifted by up to PIXELS in each direction, padded with zeros: 9 views for 1."""
    if not pixels.isdecimal() or int(pixels) < 1:
        raise UserError(
            f"`shift:{pixels}` has no number of pixels",
            hint="shift:1 has 9 views, shift:2 has 25",
        )
    largest = int(pixels)
    if largest > MAX_SHIFT:
        raise UserError(
            f"`shift:{pixels}` has {(2 * largest + 1) ** 2:,} views",
            hint=f"use {MAX_SHIFT} pixels at most",
        )
    steps = range(-largest, largest + 1)
    shifts = [(down, right) for down in steps for right in steps]
    shifts.sort(key=lambda by: by != (0, 0))  # stable: the image itself comes first
    names = (IDENTITY, *(f"down {down:+d} right {right:+d}" for down, right in shifts[1:]))

    @cache
    def corners(device: torch.device) -> torch.Tensor:
        places = [(largest - down, largest - right) for down, right in shifts]
        return torch.tensor(places, device=device)

    def transform(images: Images, views: Ids) -> Images:
        height, width = images.shape[2:]
        padded = pad(images, (largest, largest, largest, largest))
        # n c top left h w, without a copy
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        top, left = corners(images.device)[views].unbind(1)
        return windows[torch.arange(len(images), device=images.device), :, top, left]

    return Views(f"shift:{largest}", names, transform, largest)
