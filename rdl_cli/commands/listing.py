"""What there is: the members of every registry, and the layers of a network."""

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
    "views": ("rdl_cli.datasets.augmentation", "VIEWS"),
    "preprocessing": ("rdl_cli.datasets.preprocessing", "PREPROCESSING"),
    "formats": ("rdl_cli.io.raw_array", "READERS"),
}


class Member(NamedTuple):
    """A name that can be typed, its options with their defaults, and what it is."""

    name: str
    options: dict[str, Any]
    summary: str


class LayerInfo(NamedTuple):
    """A tap, the shape of what it gives for one picture, and how many numbers that is."""

    name: str
    shape: tuple[int, ...]
    units: int


def find_registry(kind: str) -> Registry:
    """The registry of a kind. UserError for a kind that there is not."""
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    module, name = KINDS[kind]
    return getattr(import_module(module), name)


def list_members(kind: str) -> list[Member]:
    """Every member of a registry. UserError for a kind that there is not."""
    known = find_registry(kind)
    found = []
    for member in known:
        options = {
            o.name: "(needed)" if o.default is o.empty else o.default
            for o in known.options(member).values()
        }
        found.append(Member(member, options, known.summary(member)))
    return found


def list_layers(network: str, pictures: str = "", classes: int = 10) -> list[LayerInfo]:
    """The layers of a network by spec, or of the network of a finished run. UserError where it cannot be built."""
    from rdl_cli.networks.factory import InputShape, build_network
    from rdl_cli.networks.hooks import layer_shapes
    from rdl_cli.networks.weights import load_network
    from rdl_cli.runs.run import Run

    if Path(network).is_dir():
        if pictures:
            raise UserError(
                f"the run {network} knows its pictures; --input-size {pictures} says otherwise",
                hint="leave out --input-size",
            )
        model, metadata = load_network(Run.open_finished(Path(network)).weights)
        size = InputShape.parse(metadata.input_shape)
    else:
        if classes < 1:
            raise UserError(f"--classes is {classes}; at least 1 is needed")
        size = InputShape.parse(pictures or "1x28x28")
        model = build_network(network, size, classes)
    return [
        LayerInfo(name, shape, math.prod(shape))
        for name, shape in layer_shapes(model, size).items()
    ]
