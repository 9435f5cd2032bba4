"""A network. Each of its submodules is a layer that can be stored and matched."""

from collections import OrderedDict

from torch import nn

from rdl_cli.networks.factory import InputShape


def mlp(shape: InputShape, classes: int, *, hidden: int = 64) -> nn.Module:
    """Return a perceptron of two hidden layers, `hidden1` and `hidden2`."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden1=nn.Sequential(
                nn.Linear(shape.channels * shape.height * shape.width, hidden), nn.ReLU()
            ),
            hidden2=nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU()),
            readout=nn.Linear(hidden, classes),
        )
    )
