"""Networks of torchvision and, if installed, timm, with random weights.

Published weights are in rdl_cli.networks.pretrained.
"""

import ast
from typing import Any

from torch import nn

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.networks.factory import NETWORKS, InputShape


@NETWORKS.register("torchvision", rest="name")
def torchvision(shape: InputShape, classes: int, *, name: str) -> nn.Module:
    """A classification network of torchvision, `torchvision:resnet18`, for three channels."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise unknown_name("torchvision network", name, models.list_models(module=models))
    return models.get_model(name, weights=None, num_classes=classes)


@NETWORKS.register("timm", rest="name")
def timm(shape: InputShape, classes: int, *, name: str) -> nn.Module:
    """A network of timm, `timm:resnet18` or `timm:NAME,key=value`; needs `pip install timm`.

    The options are those of timm.create_model.
    """
    library = import_timm()
    name, _, options = name.partition(",")
    if name not in library.list_models():
        raise unknown_name("timm network", name, library.list_models())
    return library.create_model(
        name,
        pretrained=False,
        num_classes=classes,
        in_chans=shape.channels,
        **_parse_keywords(options),
    )


def import_timm() -> Any:
    """Return the package timm. UserError if it is not installed."""
    try:
        import timm as library
    except ImportError:
        raise UserError(
            "`timm:NAME` needs the package timm, which is not installed", hint="pip install timm"
        ) from None
    return library


def _parse_keywords(text: str) -> dict[str, Any]:
    """Return `key=value,key=value` as keywords: numbers, True and False, else texts."""
    keywords: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"`{item}` is no option", hint="write timm:NAME,key=value")
        try:
            keywords[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            keywords[key] = value
    return keywords
