"""The RDMs of runs for a report: the first seed of each method, over some test images."""

from collections.abc import Sequence

from rdl_cli.commands.activation_reader import ReaderCache
from rdl_cli.commands.drawing_settings import HeatmapSettings
from rdl_cli.commands.options import split_commas
from rdl_cli.commands.plot.plot_data import LayerSelection, SourceRdms, read_run_rdms
from rdl_cli.commands.report.rdm_sections import NetworkRdms
from rdl_cli.commands.report.run_sections import RunsByMethod
from rdl_cli.core.patterns import select_names
from rdl_cli.report.page import StimulusSet


def followed_layers(runs_by_method: RunsByMethod) -> list[str]:
    """Return the students' layers that follow a teacher, in the order of the first method."""
    layers: dict[str, None] = {}
    for runs in runs_by_method.values():
        for text in runs[0].config.get("match", []):
            layers |= dict.fromkeys(part.partition("=")[0].strip() for part in text.split(","))
    return list(layers)


def read_run_networks(
    runs_by_method: RunsByMethod, layers: Sequence[str], per_class: int
) -> list[NetworkRdms]:
    """Return the RDMs of each method's first seed over some test images of every class.

    Methods without any of the layers are left out.

    Raises:
        UserError: a data set is missing or has changed, or no method has the layers.
    """
    settings = HeatmapSettings(layers=list(layers), per_class=per_class)
    open_reader = ReaderCache(settings)
    readers = {name: open_reader(runs[0]) for name, runs in runs_by_method.items()}
    in_order = dict.fromkeys(layer for reader in readers.values() for layer in reader.shapes)
    selected = select_names(split_commas(layers), in_order)
    selection = LayerSelection(layer for layer in in_order if layer in selected)
    sources = []
    for name, reader in readers.items():
        if set(selected) & set(reader.shapes):
            sources.append(read_run_rdms(name, reader, settings, selection))
    sets: dict[bytes, StimulusSet] = {}
    for source in sources:
        sets.setdefault(source.digests.tobytes(), _to_stimuli(source))
    return [
        NetworkRdms(
            source.name,
            {layer.name: layer.values for layer in source.layers},
            sets[source.digests.tobytes()],
            is_path=True,
            series=list(runs_by_method).index(source.name),
        )
        for source in sources
    ]


def _to_stimuli(source: SourceRdms) -> StimulusSet:
    count: dict[str, int] = {}
    names = []
    for name in source.classes:
        count[name] = count.get(name, 0) + 1
        names.append(f"image {count[name]}")
    images = None if source.images is None else source.images.numpy()
    return StimulusSet(tuple(names), source.classes, images)
