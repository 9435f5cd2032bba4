"""The networks of McClure & Kriegeskorte (2016), Tables 1 and 4."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.networks.factory import NETWORKS, InputShape


@NETWORKS.register("mnist-cnn")
def mnist_cnn(
    shape: InputShape,
    classes: int,
    *,
    preset: Literal["table1", "author"] = "table1",
    width: float = 1.0,
) -> nn.Module:
    """The CNN of Table 1: two convolutions, a fully connected layer; layers `pool1`, `pool2`, `fc`.

    Table 1 cannot be followed literally: its FC takes 1500 values, which is no multiple of 64
    features. Preset `table1` (padding 2, ceil pooling) gives 1600 on 28x28 and is nearest; `author`
    (no padding) gives the 256 of the first author's earlier code. `width` multiplies the features
    of all hidden layers. `fc` is read before dropout.

    Max pooling comes before the ReLU: both are monotone, so the function is the same, and the ReLU
    gets a ninth of the values.
    """
    check_width("mnist-cnn", width)
    padding, ceil = (2, True) if preset == "table1" else (0, False)
    first, second, hidden = (max(1, round(n * width)) for n in (32, 64, 200))
    features = OrderedDict(
        conv1=nn.Conv2d(shape.channels, first, 5, padding=padding),
        pool1=nn.Sequential(nn.MaxPool2d(3, 3, ceil_mode=ceil), nn.ReLU()),
        conv2=nn.Conv2d(first, second, 5, padding=padding),
        pool2=nn.Sequential(nn.MaxPool2d(2, 2, ceil_mode=ceil), nn.ReLU()),
        flatten=nn.Flatten(),
    )
    return nn.Sequential(
        OrderedDict(
            **features,
            fc=nn.Sequential(nn.Linear(_count_flattened(features, shape), hidden), nn.ReLU()),
            dropout=nn.Dropout(0.5),
            readout=nn.Linear(hidden, classes),
        )
    )


def check_width(network: str, width: float) -> None:
    """Raise UserError if a width leaves a network without features."""
    if not 0 < width < float("inf"):
        raise UserError(
            f"`{network}:width={width:g}` leaves no features",
            hint="width multiplies the paper's numbers of features: 0.5, 2",
        )


def _count_flattened(features: "OrderedDict[str, nn.Module]", shape: InputShape) -> int:
    with torch.no_grad():
        return nn.Sequential(features)(torch.zeros(1, *shape)).shape[1]


@NETWORKS.register("nin")
def nin(
    shape: InputShape,
    classes: int,
    *,
    readout: bool = False,
    last: int | None = None,
    width: float = 1.0,
) -> nn.Module:
    """The Network in Network of Table 4, with batch norm; layers `pool1`, `pool2`, `pool3`.

    `pool1` and `pool2` are read before dropout. The pools must round up (32 → 16 → 8): rounding
    down gives 32 → 15 → 7, and the last 8x8 pool does not fit. `readout` adds the linear layer that
    the paper puts after the last MLPConv layer for RDL, from as many features as classes, or from
    `last` features: the paper's finetuned network keeps its teacher's ten. `width` multiplies the
    features of all hidden layers.
    """

    def block(into: int, out: int, kernel: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(into, out, kernel, padding=kernel // 2),
            nn.BatchNorm2d(out, eps=1e-3),
            nn.ReLU(),
        )

    check_width("nin", width)
    if last is not None and (last < 1 or not readout):
        raise UserError(
            f"`nin:last={last}` needs a value of 1 or more, and a readout",
            hint=f"nin:readout=true,last={classes}",
        )
    features = last or classes
    w192, w160, w96 = (max(1, round(n * width)) for n in (192, 160, 96))
    layers = OrderedDict(
        conv1=block(shape.channels, w192, 5),
        mlpconv1_1=block(w192, w160, 1),
        mlpconv1_2=block(w160, w96, 1),
        pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
        dropout1=nn.Dropout(0.5),
        conv2=block(w96, w192, 5),
        mlpconv2_1=block(w192, w192, 1),
        mlpconv2_2=block(w192, w192, 1),
        pool2=nn.AvgPool2d(3, 2, ceil_mode=True),
        dropout2=nn.Dropout(0.5),
        conv3=block(w192, w192, 5),
        mlpconv3_1=block(w192, w192, 1),
        mlpconv3_2=block(w192, features, 1),
        pool3=nn.Sequential(
            nn.AvgPool2d((-(-shape.height // 4), -(-shape.width // 4))), nn.Flatten()
        ),
    )
    if readout:
        layers["readout"] = nn.Linear(features, classes)
    return nn.Sequential(layers)
