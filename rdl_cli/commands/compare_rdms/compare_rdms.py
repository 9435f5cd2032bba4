"""Compare representations: layers of networks and brain regions, with intervals and tests.

A region of several subjects is compared subject by subject. The value is the mean over subjects
(over all pairs of them if both sides have several), which is what the noise ceiling bounds.
`IT@mean` is one RDM and has no subjects. Intervals are about other stimuli and, where there are
subjects, other subjects; p is that of unrelated stimuli.
"""

from collections.abc import Sequence
from pathlib import Path

from rdl_cli.commands.compare_rdms.measure_table import compute_table
from rdl_cli.commands.compare_rdms.representation import Representation
from rdl_cli.commands.compare_rdms.results import ComparedRepresentation, RdmComparison
from rdl_cli.commands.compare_rdms.sources import open_sources, read_layers, select_stimuli
from rdl_cli.commands.device import configure_backend, resolve_device
from rdl_cli.commands.options import split_commas
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.patterns import match_names
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.measures import MEASURES


def compare_rdms(sources: Sequence[Path], settings: CompareRdmsSettings) -> RdmComparison:
    """Return the comparison of all pairs of layers of the stores and runs, by every measure.

    Args:
        sources: stores, runs, and folders of runs.
        settings: layers, stimuli, measures and resamples.

    Raises:
        UserError: for bad input, or if sources do not have the same stimuli.
    """
    measures = {spec: MEASURES.find(spec) for spec in dict.fromkeys(settings.measure)}
    configure_backend(resolve_device(settings.device))
    layers, controls = read_all(sources, settings)
    if len(layers) < 2 and layers[0].n_subjects < 2:
        raise UserError(
            f"there is nothing to compare `{layers[0].name}` with",
            hint="name a second store or run, or more --layers",
        )
    references = _find_references(layers, settings)
    against = _find_positions("against", settings.against, layers)
    if len(against) == len(layers):
        raise UserError(
            f"--against names all layers: {', '.join(layer.name for layer in layers)}",
            hint="name a store or run of other layers, or more --layers",
        )
    tables = tuple(
        compute_table(spec, measure, layers, controls, references, settings, against)
        for spec, measure in measures.items()
    )
    representations = tuple(
        ComparedRepresentation(
            layer.name,
            layer.description,
            layer.kind,
            layer.choose_distance(settings.distance),
            layer.n_subjects,
        )
        for layer in layers
    )
    n = layers[0].n_stimuli
    return RdmComparison(
        n, settings.align, settings.n_resamples, settings.seed, representations, tables
    )


def read_representations(
    sources: Sequence[Path], settings: CompareRdmsSettings
) -> list[Representation]:
    """Return the layers to compare. UserError if none is named or something is wrong with one."""
    return read_all(sources, settings)[0]


def read_all(
    sources: Sequence[Path], settings: CompareRdmsSettings
) -> tuple[list[Representation], list[Representation]]:
    """Return the layers to compare, and those to control for (which are not compared)."""
    settings.check()
    if settings.distance:
        DISTANCES.find(settings.distance)
    if not sources:
        raise UserError("no store and no run is named", hint="rdl compare-rdms STORE|RUN...")
    opened = open_sources(sources, settings)
    rows = select_stimuli(opened, settings)
    controls = []
    if patterns := split_commas(settings.control_for):
        controls = read_layers(opened, rows, patterns)
    for control in controls:
        if control.n_subjects > 1:
            raise UserError(
                f"`{control.name}` has {control.n_subjects} subjects; one RDM can be controlled"
                " for",
                hint=f"--control-for {control.description}@mean",
            )
    names = {control.name for control in controls}
    layers = read_layers(opened, rows, split_commas(settings.layers))
    layers = [layer for layer in layers if layer.name not in names]
    if not layers:
        raise UserError("all layers are controlled for", hint="name other --layers")
    return layers, controls


def _find_references(layers: list[Representation], settings: CompareRdmsSettings) -> list[int]:
    """Return the positions of the layers that --reference names."""
    positions = _find_positions("reference", settings.reference, layers)
    if positions and len(layers) < 3:
        raise UserError(
            "a difference of similarities to a reference needs two other layers",
            hint="name more --layers, or leave out --reference",
        )
    return positions


def _find_positions(option: str, texts: list[str], layers: list[Representation]) -> list[int]:
    """Return the positions of the layers that an option names, with or without their source."""
    names = [layer.name for layer in layers]
    positions: dict[int, None] = {}
    for pattern in split_commas(texts):
        matches = match_names(pattern, names) or match_names(f"*/{pattern}", names)
        if not matches:
            raise unknown_name(f"layer for --{option}", pattern, names)
        positions |= dict.fromkeys(names.index(name) for name in matches)
    return list(positions)
