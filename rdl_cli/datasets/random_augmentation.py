"""Random augmentation by torchvision's v2 transforms, for a live teacher or none.

A store cannot hold the targets of augmentations without number; see `augmentation` for those that
it can hold.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Images


@dataclass(frozen=True)
class RandomAugmentation:
    """Transforms that are drawn anew for every image and step.

    Args:
        specs: the transforms by name, `ColorJitter:brightness=0.4`, in the order of application.
        transforms: the same as objects.
    """

    specs: tuple[str, ...]
    transforms: tuple[Any, ...]

    def apply(
        self, images: Images, seeds: Seeds, epoch: int, step: int, columns: Sequence[int]
    ) -> Images:
        """Return each image transformed, on its device.

        What is drawn depends on seed, epoch, step and the image's column in the batch: not on the
        number of processes or workers, and not on earlier steps.
        """
        devices = [images.device] if images.device.type == "cuda" else []
        augmented = []
        with torch.random.fork_rng(devices):  # the transforms draw from the global generator
            for image, column in zip(images, columns, strict=True):
                torch.manual_seed(seeds.number("augment", epoch, step, column))
                for transform in self.transforms:
                    image = transform(image)
                augmented.append(image)
        return torch.stack(augmented)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise UserError if the transforms fail for uint8 images (c, h, w), or change shape."""
        name = " ".join(f"--augment {spec}" for spec in self.specs)
        size = " × ".join(map(str, shape))
        try:
            images = self.apply(torch.zeros(1, *shape, dtype=torch.uint8), Seeds(0), 0, 0, [0])
        except Exception as error:
            raise UserError(f"{name} fails for images of {size}: {error}") from error
        if images.shape[1:] != shape or images.dtype != torch.uint8:
            kind = str(images.dtype).removeprefix("torch.")
            raise UserError(
                f"{name} makes {' × '.join(map(str, images.shape[1:]))} {kind} of {size} uint8",
                hint="keep size and type: RandomResizedCrop:size=28 for 28 × 28 pixels;"
                " --preprocessing makes numbers of pixels",
            )


def make_augmentation(specs: Sequence[str]) -> RandomAugmentation | None:
    """Return the transforms that specs name, None without any. UserError for an unknown one.

    >>> make_augmentation(["RandomHorizontalFlip:p=0.3"]).transforms
    (RandomHorizontalFlip(p=0.3),)
    """
    if not specs:
        return None
    return RandomAugmentation(tuple(specs), tuple(map(_make_transform, specs)))


def _make_transform(spec: str) -> Any:
    from torchvision.transforms import v2  # takes a second

    name, _, options = spec.partition(":")
    known = {
        key: value
        for key, value in vars(v2).items()
        if isinstance(value, type) and issubclass(value, v2.Transform) and value is not v2.Transform
    }
    if name not in known:
        raise unknown_name("transform of torchvision.transforms.v2", name, known)
    try:
        return known[name](**_parse_options(options))
    except (TypeError, ValueError, SyntaxError) as error:
        raise UserError(
            f"`--augment {spec}`: {error}",
            hint="write NAME:option=value,option=value, for example"
            " RandomResizedCrop:size=64,scale=(0.5,1)",
        ) from error


def _parse_options(text: str) -> dict[str, Any]:
    """Return `size=64,scale=(0.5,1)` as keywords. Words are texts."""
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(f"`{text}` is not a list of option=value")
    return {
        keyword.arg: keyword.value.id
        if isinstance(keyword.value, ast.Name)
        else ast.literal_eval(keyword.value)
        for keyword in call.keywords
        if keyword.arg
    }
