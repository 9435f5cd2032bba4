"""Networks of torchvision and, if installed, timm. Weights are never downloaded."""

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
    """A network of timm, `timm:resnet18`, for any number of channels; needs `pip install timm`."""
    try:
        import timm as library
    except ImportError:
        raise UserError(
            f"`timm:{name}` needs the package timm, which is not installed", hint="pip install timm"
        ) from None
    if name not in library.list_models():
        raise unknown_name("timm network", name, library.list_models())
    return library.create_model(
        name, pretrained=False, num_classes=classes, in_chans=shape.channels
    )
