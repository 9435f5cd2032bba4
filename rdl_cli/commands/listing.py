"""List the members of a registry, and the layers of a network."""

import math
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.registry import Registry

KINDS = {
    "objectives": ("rdl_cli.training.objective", "OBJECTIVES"),
    "datasets": ("rdl_cli.datasets.base", "DATASETS"),
    "networks": ("rdl_cli.networks.factory", "NETWORKS"),
    "distances": ("rdl_cli.rsa.distances", "DISTANCES"),
    "measures": ("rdl_cli.rsa.measures", "MEASURES"),
    "controls": ("rdl_cli.rsa.control_rdms", "CONTROLS"),
    "schedules": ("rdl_cli.training.lr_schedule", "SCHEDULES"),
    "optimizers": ("rdl_cli.training.optimizer", "OPTIMIZERS"),
    "views": ("rdl_cli.datasets.augmentation", "VIEWS"),
    "preprocessing": ("rdl_cli.datasets.preprocessing", "PREPROCESSING"),
    "RDM distances": ("rdl_cli.rsa.mds", "RDM_DISTANCES"),
    "formats": ("rdl_cli.io.raw_array", "READERS"),
}
"""Kind of name → module and registry."""


class Member(NamedTuple):
    """A registered name, its options with their defaults, and a summary."""

    name: str
    options: dict[str, Any]
    summary: str


class LayerInfo(NamedTuple):
    """A layer, the shape of its activations for one image, and its number of units."""

    name: str
    shape: tuple[int, ...]
    units: int


def find_registry(kind: str) -> Registry:
    """Return the registry of a kind. Raise UserError for an unknown kind."""
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    module, name = KINDS[kind]
    return getattr(import_module(module), name)


def list_members(kind: str) -> list[Member]:
    """Return every member of a registry. Raise UserError for an unknown kind."""
    registry = find_registry(kind)
    members = []
    for name in registry:
        options = {
            option.name: "(needed)" if option.default is option.empty else option.default
            for option in registry.options(name).values()
        }
        members.append(Member(name, options, registry.summary(name)))
    return members


def list_layers(
    network: str, input_size: str = "", classes: int = 10, trust: bool = False
) -> list[LayerInfo]:
    """Return the layers of a network by spec, or of a finished run's network.

    Args:
        network: a spec such as `mnist-cnn`, or the folder of a run.
        input_size: channels x height x width of an image; if "" that of published weights, or
            else 1x28x28.
        classes: number of logits.
        trust: import code that a run's files name.

    Raises:
        UserError: the network cannot be built.
    """
    from rdl_cli.networks.factory import InputShape, build_network
    from rdl_cli.networks.hooks import layer_shapes
    from rdl_cli.networks.pretrained import find_transform
    from rdl_cli.networks.weights import load_network
    from rdl_cli.runs.run import Run

    if Path(network).is_dir():
        if input_size:
            raise UserError(
                f"--input-size {input_size} has no effect: {network} is a run, of known input size",
                hint="leave out --input-size",
            )
        model, metadata = load_network(Run.open_finished(Path(network)).weights, trust)
        shape = InputShape.parse(metadata.input_shape)
    else:
        if classes < 1:
            raise UserError(
                f"--classes is {classes}; at least 1 is needed", hint="use --classes 10"
            )
        transform = None if input_size else find_transform(network)
        shape = transform.input_shape if transform else InputShape.parse(input_size or "1x28x28")
        model = build_network(network, shape, classes)
    return [
        LayerInfo(name, layer_shape, math.prod(layer_shape))
        for name, layer_shape in layer_shapes(model, shape).items()
    ]
