"""Build networks by name: our own, torchvision's, timm's, or those of a user's function."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import TYPED, NameSource, Registry
from rdl_cli.networks.wrappers import first_tensor, unwrap_network

NETWORKS = Registry("network", home="rdl_cli.networks")
"""A member is `function(shape: InputShape, classes: int, *, options) -> nn.Module`."""


class InputShape(NamedTuple):
    """The shape of a network's input, one image."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return "x".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> "InputShape":
        """Return the shape that a text like `1x28x28` describes, else raise UserError."""
        parts = text.lower().split("x")
        if len(parts) != 3 or not all(p.isdecimal() and int(p) > 0 for p in parts):
            raise UserError(
                f"`{text}` is not the shape of an image",
                hint="write channels x height x width, for example 3x32x32",
            )
        return cls(*map(int, parts))


def build_network(
    spec: str, shape: InputShape, classes: int, source: NameSource = TYPED
) -> nn.Module:
    """Return the network that a spec names, for images of this shape.

    Args:
        spec: for example `mnist-cnn:width=0.5`, `torchvision:resnet18` or `module:factory`.
        shape: channels, height and width of an image.
        classes: number of logits; a user's factory gets it as `num_classes=` or `classes=`.
        source: where the spec comes from; code that a file names needs trust.

    Raises:
        UserError: the network cannot be built, or gives other logits for such images.

    >>> network = build_network("mnist-cnn", InputShape(1, 28, 28), 10)
    >>> network(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    factory = _find_factory(spec, source)
    parameters = inspect.signature(factory).parameters
    positional = [
        p
        for p in parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    try:
        if len(positional) >= 2:
            network = factory(shape, classes)
        else:
            names = ("num_classes", "classes", "n_classes")
            name = next((name for name in names if name in parameters), None)
            network = factory(**({name: classes} if name else {}))
    except UserError:
        raise
    except Exception as error:  # whatever a user's own factory raises
        raise UserError(
            f"the network `{spec}` could not be built for {shape} images and {classes} classes:"
            f" {_describe(error)}",
            hint="a factory takes (shape, classes), or num_classes= or classes=, or nothing",
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"`{spec}` made a {type(network).__name__}, not a torch.nn.Module")
    network = unwrap_network(network)
    _check_logits(spec, network, shape, classes)
    return network


def _find_factory(spec: str, source: NameSource) -> Callable[..., Any]:
    """Return a network's factory; for a bare name of torchvision's, UserError with its prefix."""
    try:
        return NETWORKS.find(spec, source)
    except UserError as error:
        import torchvision

        name = spec.partition(":")[0]
        if name not in torchvision.models.list_models():
            raise
        raise UserError(str(error), hint=f"write torchvision:{spec}") from None


def _check_logits(spec: str, network: nn.Module, shape: InputShape, classes: int) -> None:
    """Raise UserError if a network does not give one logit a class for images of this shape."""
    was_training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(torch.zeros(2, *shape))
    except Exception as error:  # whatever a user's own network raises
        raise UserError(
            f"the network `{spec}` does not take {shape} images: {_describe(error)}",
            hint="choose another network, or another --image-size",
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(logits, torch.Tensor) and (tensor := first_tensor(logits)) is not None:
        logits = tensor
        network.register_forward_hook(_take_first_tensor)  # logits in a tuple or dict
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (2, classes):
        output = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(
            f"the network `{spec}` gives {output} for two images;"
            f" (2, {classes}) is needed for {classes} classes"
        )


def _take_first_tensor(_network: nn.Module, _args: Any, output: Any) -> torch.Tensor | None:
    return first_tensor(output)


def _describe(error: Exception) -> str:
    """Return an error's text, with its type if the text alone would not be clear."""
    return (
        str(error)
        if isinstance(error, (TypeError, ValueError, RuntimeError))
        else f"{type(error).__name__}: {error}"
    )
