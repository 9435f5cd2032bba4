"""Preprocessing: uint8 images `n c h w` to the network's float32 input, on their device."""

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
"""A member is `function(train: Split, *, options) -> Preprocess`; it can measure `train`."""


@dataclass(frozen=True)
class Preprocess:
    """A fixed function of single images. `spec` includes all measured values, so it is portable."""

    spec: str
    function: Callable[[Images], Images]

    def __call__(self, images: Images) -> Images:
        assert images.dtype == torch.uint8, (
            f"preprocessing starts from uint8 pixels, not {images.dtype}"
        )
        return self.function(images)


@PREPROCESSING.register("unit")
def unit(train: Split) -> Preprocess:
    """Divide pixels by 255: the paper's MNIST."""
    return Preprocess("unit", lambda images: images.float().div_(255))


@PREPROCESSING.register("imagenet")
def imagenet(
    train: Split,
    *,
    resize: int | None = None,
    crop: int | None = None,
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear",
    mean: str = "0.485/0.456/0.406",
    sd: str = "0.229/0.224/0.225",
) -> Preprocess:
    """Standardize color images by the moments of ImageNet, as pretrained networks expect.

    With `crop` the images must have this side. `resize` is the side before cropping.
    """
    size = tuple(train.images.shape[2:])
    if crop is not None and size != (crop, crop):
        raise UserError(
            f"the images are {size[0]} x {size[1]}; the weights are for {crop} x {crop}",
            hint=f"pass --image-size {crop}, or --preprocessing imagenet to use any size",
        )
    function = standard(train, mean=mean, sd=sd).function
    if resize is None or crop is None:
        return Preprocess(f"imagenet:mean={mean},sd={sd}", function)
    size_text = f"resize={resize},crop={crop},interpolation={interpolation}"
    return Preprocess(f"imagenet:{size_text},mean={mean},sd={sd}", function)


@PREPROCESSING.register("gcn")
def gcn(
    train: Split, *, by: Literal["sd", "norm"] = "sd", scale: float = 1.0, bias: float = 0.0
) -> Preprocess:
    """Normalize the contrast of each image: subtract its mean, divide by its contrast (CIFAR).

    The paper's CIFAR, in pylearn2's form for pixels from 0 to 255: contrast = sqrt(bias +
    variance)/scale with n - 1 in the variance, or with `by=norm` sqrt(bias + sum of squares)/scale
    (pylearn2's CIFAR: by=norm,scale=55; √3072 = 55.4). A contrast below 1e-8 counts as 1, so a
    uniform image becomes 0 and not NaN.
    """
    if scale <= 0 or bias < 0:
        raise UserError(
            f"gcn has scale {scale} and bias {bias}",
            hint="the scale must be above 0, the bias 0 or above",
        )

    def normalize(images: Images) -> Images:
        flat = images.flatten(1).float()
        flat -= flat.mean(1, keepdim=True)
        power = flat.square().sum(1, keepdim=True)
        contrast = (bias + (power / (flat.shape[1] - 1) if by == "sd" else power)).sqrt() / scale
        return (flat / torch.where(contrast < 1e-8, 1.0, contrast)).view(images.shape)

    return Preprocess(f"gcn:by={by},scale={scale},bias={bias}", normalize)


@PREPROCESSING.register("standard")
def standard(train: Split, *, mean: str | None = None, sd: str | None = None) -> Preprocess:
    """Divide pixels by 255, subtract their channel's mean, divide by its standard deviation.

    Both are measured over the training images, or given as `mean=.49/.48/.45,sd=.25/.24/.26`. A
    network keeps the numbers of its training.
    """
    measured = _measure_moments(train) if mean is None or sd is None else ([], [])
    means = measured[0] if mean is None else _parse_numbers(mean)
    sds = measured[1] if sd is None else _parse_numbers(sd)
    spec = f"standard:mean={'/'.join(map(repr, means))},sd={'/'.join(map(repr, sds))}"
    channels = train.images.shape[1]
    if not len(means) == len(sds) == channels or min(sds) <= 0:
        raise UserError(
            f"`{spec}` doesn't fit images of {channels} channel(s)",
            hint="give one mean and one sd above 0 for each channel",
        )

    @cache
    def constants(device: torch.device) -> torch.Tensor:
        return torch.tensor([means, sds], device=device).view(2, -1, 1, 1)

    def standardize(images: Images) -> Images:
        shift, scale = constants(images.device)
        return images.float().div_(255).sub_(shift).div_(scale)

    return Preprocess(spec, standardize)


def _measure_moments(split: Split) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, pixels from 0 to 1.

    Exact, from the counts of the 256 pixel values.
    """
    channels = split.images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.float64)
    for start in range(0, len(split), 1000):
        block = split.read(slice(start, start + 1000))
        for channel in range(channels):
            counts[channel] += torch.bincount(block[:, channel].flatten(), minlength=256)
    fraction = counts / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    means = fraction @ values
    sds = (fraction @ values.square() - means.square()).clamp_min(0).sqrt()
    return [round(m, 8) for m in means.tolist()], [round(s, 8) or 1.0 for s in sds.tolist()]


def _parse_numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split("/")]
    except ValueError:
        raise UserError(
            f"`{text}` is not a list of numbers",
            hint="separate them with /, for example mean=.49/.48/.45",
        ) from None
