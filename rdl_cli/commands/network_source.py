"""A network to read: that of a finished run, or one by name with published or foreign weights."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from rdl_cli.commands.console import log
from rdl_cli.commands.options import reject_options
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import file_digest
from rdl_cli.core.provenance import Parent
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import LayerShapes, layer_shapes
from rdl_cli.networks.pretrained import (
    InputTransform,
    find_dependent_layers,
    find_transform,
    find_weights,
    load_pretrained,
)
from rdl_cli.networks.weights import load_network
from rdl_cli.runs.run import Run


@dataclass(frozen=True, eq=False)
class NetworkSource:
    """A network, the images that it expects, and its origin.

    Args:
        name: the path of the run, or the network's spec.
        network: in evaluation mode.
        shape: of its input.
        shapes: of its layers.
        preprocessing: the spec of its preprocessing.
        parent: the origin for provenance.
        untrained: the tensors that no training has seen.
        transform: resize and crop of published weights; None for a run.
    """

    name: str
    network: nn.Module
    shape: InputShape
    shapes: LayerShapes
    preprocessing: str
    parent: Parent
    untrained: tuple[str, ...] = ()
    transform: InputTransform | None = None

    def list_untrained(self, layers: list[str]) -> list[str]:
        """Return the layers that depend on tensors without training, and log them."""
        if not self.untrained:
            return []
        dependent = find_dependent_layers(self.network, self.shape, layers, self.untrained)
        if dependent:
            log(
                f"note: {', '.join(dependent)} of {self.name} are untrained: they depend on random"
                f" weights ({', '.join(self.untrained[:3])}{', ...' * (len(self.untrained) > 3)})"
            )
        return dependent


def is_run(source: str | Path) -> bool:
    """Return True if a source is a path, False if it is the spec of a network."""
    return Path(source).is_dir() or ":" not in str(source)


def open_network(source: str, settings: ExportSettings) -> NetworkSource:
    """Open a finished run's network, or a network by name with the weights of the settings.

    UserError if the run is unfinished, the weights are missing, or nothing of them fits.
    """
    if is_run(source):
        return open_run_network(Run.open_finished(Path(source)), settings)
    if not settings.weights:
        raise UserError(
            f"`{source}` has no weights", hint="pass --weights DEFAULT, or --weights FILE"
        )
    weights = find_weights(source, settings.weights, settings.download)
    transform = weights.transform
    shape = transform.input_shape if transform else InputShape(3, 224, 224)
    if settings.image_size:
        shape = shape._replace(height=settings.image_size, width=settings.image_size)
    loaded = load_pretrained(source, weights, shape, settings.classes)
    log(
        f"{source}: weights of {weights.file}"
        f"{f' ({loaded.unwrapped})' if loaded.unwrapped else ''}, {loaded.classes} classes"
    )
    preprocessing = resolve_preprocessing(settings.preprocessing, source, transform)
    digest = file_digest(weights.file)
    return NetworkSource(
        source,
        loaded.network,
        shape,
        layer_shapes(loaded.network, shape),
        preprocessing,
        Parent(kind="weights", path=str(weights.file.absolute()), fingerprint=digest),
        loaded.new,
        transform if preprocessing.startswith("imagenet:resize") else None,
    )


def open_run_network(run: Run, settings: ExportSettings) -> NetworkSource:
    """Open the network of a finished run. UserError for options that are for other networks."""
    reject_options(
        settings,
        ("weights", "classes", "preprocessing", *(() if settings.dataset else ("download",))),
        f"is for a network that is no run; {run.path} is a run",
        hint="leave it out",
    )
    network, metadata = load_network(run.weights, settings.trust)
    shape = InputShape.parse(metadata.input_shape)
    return NetworkSource(
        str(run.path),
        network,
        shape,
        layer_shapes(network, shape),
        metadata.preprocessing,
        Parent(kind="run", path=str(run.path), fingerprint=run.fingerprint()),
        tuple(run.provenance.get("untrained", ())),
    )


def resolve_preprocessing(name: str, network: str, transform: InputTransform | None) -> str:
    """Return a spec of preprocessing; `weights` and "" are that of the network's weights.

    UserError if it is not known, or not that of the weights.
    """
    if name in ("", "weights"):
        if transform is None:
            raise UserError(
                f"the preprocessing of `{network}` is not known",
                hint="pass --preprocessing imagenet, unit, ... (rdl list preprocessing)",
            )
        return transform.preprocessing
    if transform and not name.startswith(("imagenet", "standard")):
        raise UserError(
            f"the weights of `{network}` are for standardized images"
            f" (mean {transform.mean}, sd {transform.sd}), not for --preprocessing {name}",
            hint="leave it out, or pass --preprocessing standard:mean=...,sd=... for your own",
        )
    return name


def own_input_shape(spec: str) -> InputShape | None:
    """Return the input that a network's published weights expect; None if it has none."""
    transform = find_transform(spec)
    return transform.input_shape if transform else None
