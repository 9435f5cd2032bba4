"""Networks by name: ours, torchvision's, timm's, or a user's own function."""

import inspect
from typing import NamedTuple

import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry

NETWORKS = Registry("network", home="rdl_cli.networks")
"""A member is `function(pictures: Pictures, classes: int, *, options) -> nn.Module`; every submodule is a tap."""


class InputShape(NamedTuple):
    """The shape of a network's input."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return "x".join(map(str, self))

    @classmethod
    def read(cls, text: str) -> "InputShape":
        """`1x28x28` as a shape; UserError for anything else."""
        parts = text.lower().split("x")
        if len(parts) != 3 or not all(p.isdecimal() and int(p) > 0 for p in parts):
            raise UserError(
                f"`{text}` is not a picture's shape",
                hint="write channels x height x width, for example 3x32x32",
            )
        return cls(*map(int, parts))


def build_network(spec: str, pictures: InputShape, classes: int) -> nn.Module:
    """The network that a spec names, for pictures of this shape, with `classes` logits.

    A user's own `module:factory` gets `num_classes=` or `classes=` where it takes one. UserError where the network
    cannot be built or gives other logits for such pictures.
    """
    factory = NETWORKS.find(spec)
    takes = inspect.signature(factory).parameters
    by_position = [
        p
        for p in takes.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    try:
        if len(by_position) >= 2:
            network = factory(pictures, classes)
        else:
            count = next(
                (name for name in ("num_classes", "classes", "n_classes") if name in takes), None
            )
            network = factory(**({count: classes} if count else {}))
    except UserError:
        raise
    except Exception as error:  # whatever a user's own factory raises
        raise UserError(
            f"the network `{spec}` could not be built for {pictures} pictures and {classes} classes: {_said(error)}",
            hint="a factory takes (pictures, classes), or num_classes= or classes=, or nothing",
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"`{spec}` made a {type(network).__name__}, not a torch.nn.Module")
    _check_output(spec, network, pictures, classes)
    return network


def _check_output(spec: str, network: nn.Module, pictures: InputShape, classes: int) -> None:
    was_training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(torch.zeros(2, *pictures))
    except Exception as error:  # whatever a user's own network raises
        raise UserError(
            f"the network `{spec}` does not take {pictures} pictures: {_said(error)}",
            hint="choose another network, or another --image-size",
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (2, classes):
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(
            f"the network `{spec}` gives {shape} for two pictures; (2, {classes}) is needed for {classes} classes"
        )


def _said(error: Exception) -> str:
    """An error's text, with its kind where that alone would not tell what went wrong."""
    return (
        str(error)
        if isinstance(error, (TypeError, ValueError, RuntimeError))
        else f"{type(error).__name__}: {error}"
    )
