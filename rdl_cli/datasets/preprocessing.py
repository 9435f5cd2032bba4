"""From uint8 pixels to what a network takes: each maps `n c h w` uint8 to float32, on whichever device the pictures are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.core.tensor_types import Images
from rdl_cli.datasets.base import Split

PREPROCESSING = Registry("preprocessing", home="rdl_cli.datasets.preprocessing")
"""A member is `function(train: Split, *, options) -> Preprocess`; `train` is where it may measure, once."""


@dataclass(frozen=True)
class Preprocess:
    """A fixed function of single pictures. `spec` makes it again on any data set: what was measured is written out in it."""

    spec: str
    function: Callable[[Images], Images]

    def __call__(self, images: Images) -> Images:
        assert images.dtype == torch.uint8, (
            f"preprocessing starts from uint8 pixels, not {images.dtype}"
        )
        return self.function(images)


@PREPROCESSING.register("unit")
def unit(train: Split) -> Preprocess:
    """Pixels divided by 255, and nothing else: the paper's MNIST."""
    return Preprocess("unit", lambda images: images.float().div_(255))


@PREPROCESSING.register("gcn")
def gcn(
    train: Split, *, by: Literal["sd", "norm"] = "sd", scale: float = 1.0, bias: float = 0.0
) -> Preprocess:
    """Global contrast normalisation of each picture: minus its mean, divided by its contrast. The paper's CIFAR.

    pylearn2's form on pixels from 0 to 255: contrast = sqrt(bias + variance)/scale with n - 1 in the variance, or with
    `by=norm` sqrt(bias + sum of squares)/scale (pylearn2's CIFAR: by=norm,scale=55; √3072 = 55.4). A contrast below
    1e-8 counts as 1, so a picture of one grey becomes 0 and not NaN.
    """

    if scale <= 0 or bias < 0:
        raise UserError(
            f"gcn can't have scale {scale} and bias {bias}",
            hint="the scale is above 0, the bias 0 or above",
        )

    def normalise(images: Images) -> Images:
        flat = images.flatten(1).float()
        flat -= flat.mean(1, keepdim=True)
        power = flat.square().sum(1, keepdim=True)
        contrast = (bias + (power / (flat.shape[1] - 1) if by == "sd" else power)).sqrt() / scale
        return (flat / torch.where(contrast < 1e-8, 1.0, contrast)).view(images.shape)

    return Preprocess(f"gcn:by={by},scale={scale},bias={bias}", normalise)


@PREPROCESSING.register("standard")
def standard(train: Split, *, mean: str | None = None, sd: str | None = None) -> Preprocess:
    """Pixels divided by 255, minus the mean of their channel, divided by its standard deviation, both over the training images.

    Given as `mean=.49/.48/.45,sd=.25/.24/.26` they are taken as they stand; a network keeps the numbers that it was trained with.
    """
    measured = _moments(train) if mean is None or sd is None else ([], [])
    means, sds = (
        measured[0] if mean is None else _numbers(mean),
        measured[1] if sd is None else _numbers(sd),
    )
    spec = f"standard:mean={'/'.join(map(repr, means))},sd={'/'.join(map(repr, sds))}"
    channels = train.images.shape[1]
    if not len(means) == len(sds) == channels or min(sds) <= 0:
        raise UserError(
            f"`{spec}` doesn't fit pictures of {channels} channel(s)",
            hint="one mean and one sd above 0 for each channel",
        )

    @cache
    def constants(device: torch.device) -> torch.Tensor:
        return torch.tensor([means, sds], device=device).view(2, -1, 1, 1)

    def standardise(images: Images) -> Images:
        shift, scale = constants(images.device)
        return images.float().div_(255).sub_(shift).div_(scale)

    return Preprocess(spec, standardise)


def _moments(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, pixels from 0 to 1; exact, from the counts of the 256 values."""
    channels = split.images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.float64)
    for start in range(0, len(split), 1000):
        block = split.read(slice(start, start + 1000))
        for channel in range(channels):
            counts[channel] += torch.bincount(block[:, channel].flatten(), minlength=256)
    share = counts / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    means = share @ values
    sds = (share @ values.square() - means.square()).clamp_min(0).sqrt()
    return [round(m, 8) for m in means.tolist()], [round(s, 8) or 1.0 for s in sds.tolist()]


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split("/")]
    except ValueError:
        raise UserError(
            f"`{text}` is not a number for each channel",
            hint="separate them with /, for example mean=.49/.48/.45",
        ) from None
