"""The sections of a report that show geometry: RDMs, and maps of layers and of stimuli."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import squareform

from rdl_cli.core.errors import UserError
from rdl_cli.report.charts import group_ends
from rdl_cli.report.maps import Path as MapPath
from rdl_cli.report.maps import draw_map
from rdl_cli.report.page import Charts, RdmFigure, Rdms, Section, StimulusSet, Text
from rdl_cli.rsa.mds import mds, one_minus_pearson, procrustes_align

MAX_RDMS = 40
"""RDMs on a page; more would make it slow, and larger than 5 MB."""
MAX_MAPS = 9
HIGH_STRESS = 0.15


@dataclass(frozen=True, eq=False)
class NetworkRdms:
    """The RDMs of a network's layers or of brain regions, all over the same stimuli.

    Args:
        name: of the network or store.
        rdms: condensed distances by layer, first to last.
        stimuli: what they are about.
        is_path: whether the layers follow one another, so that a map connects them.
        series: gives the colour, the same in all charts.
    """

    name: str
    rdms: Mapping[str, np.ndarray]
    stimuli: StimulusSet
    is_path: bool = False
    series: int = 0


def rdm_section(networks: Sequence[NetworkRdms], distance: str) -> Section:
    """Return the RDMs side by side."""
    figures = [
        RdmFigure(f"{network.name}, {layer}" if network.name else layer, values, network.stimuli)
        for network in networks
        for layer, values in network.rdms.items()
    ]
    n = len(networks[0].stimuli.names)
    caption = (
        f"RDMs of {n} stimuli. Colour: rank of the {distance} within each RDM, dark is near, grey"
        " is not measured. Point at a cell, or focus an RDM and press arrow keys: its two stimuli"
        " and their distance."
    )
    if len(figures) > MAX_RDMS:
        caption += f" The first {MAX_RDMS} of {len(figures)} are shown."
    columns = max(len(network.rdms) for network in networks)
    if columns > 5 or any(len(network.rdms) != columns for network in networks):
        columns = 5
    return Section("RDMs", [Rdms(figures[:MAX_RDMS], caption, columns)])


def layer_map_section(networks: Sequence[NetworkRdms]) -> Section | None:
    """Return a map of all layers, as far apart as their RDMs; None for fewer than three."""
    values = [rdm for network in networks for rdm in network.rdms.values()]
    same = all(network.stimuli.names == networks[0].stimuli.names for network in networks)
    if len(values) < 3 or not same or np.isnan(values).any():
        return None
    result = mds(one_minus_pearson(torch.from_numpy(np.stack(values)).double()))
    points = iter(result.points.numpy())
    paths = []
    for network in networks:
        at = np.stack([next(points) for _ in network.rdms])
        tips = [f"{network.name}, {layer}".removeprefix(", ") for layer in network.rdms]
        paths.append(MapPath(list(network.rdms), at, network.series, tips))
    connect = all(network.is_path for network in networks)
    chart = draw_map("Layers", paths, connect=connect)
    caption = "Metric MDS. Points are as far apart as their RDMs (1 − Pearson r)."
    caption += " A line goes through the layers of a network in order." if connect else ""
    caption += f" {describe_stress(result.stress)}"
    legend = {network.name: network.series for network in networks} if len(networks) > 1 else {}
    return Section("Map of layers", [Charts([chart], legend, caption)])


def stimulus_map_section(networks: Sequence[NetworkRdms]) -> Section | None:
    """Return maps of the stimuli: of all layers if they are few, else of each network's last one.

    None if distances are missing.
    """
    charts, stresses = [], []
    first: torch.Tensor | None = None
    few = sum(len(network.rdms) for network in networks) <= MAX_MAPS
    layers = [
        (network, layer, values)
        for network in networks
        for layer, values in list(network.rdms.items())[0 if few else -1 :]
        if not np.isnan(values).any()
    ]
    for network, layer, values in layers[:MAX_MAPS]:
        result = mds(torch.from_numpy(squareform(values)))
        stresses.append(result.stress)
        name = f"{network.name}, {layer}" if network.name else layer
        name += f" (stress {result.stress:.2f})"
        points = result.points
        if first is None:
            first = points
        elif network.stimuli is networks[0].stimuli:  # equal stimuli at equal places
            points = procrustes_align(points, first)
        paths = _stimulus_paths(network, points.numpy())
        charts.append(draw_map(name, paths, network.stimuli, connect=False))
    if not charts:
        return None
    stimuli = networks[0].stimuli
    groups = [group for group, _, _ in group_ends(stimuli.classes)]
    legend = (
        {group: k for k, group in enumerate(groups)}
        if stimuli.images is None and len(groups) > 1
        else {}
    )
    caption = (
        "Metric MDS of the stimuli: points are as far apart as the RDM's distances."
        f" {describe_stress(max(stresses))}"
    )
    return Section("Map of stimuli", [Charts(charts, legend, caption)])


def missing_section(error: UserError) -> Section:
    """Return a note that RDMs could not be read, and why."""
    return Section("RDMs", [Text([f"RDMs are not shown: {error}."])])


def describe_stress(stress: float) -> str:
    """Return stress-1 in words, with a warning where a map distorts much."""
    text = f"Stress-1 is {stress:.2f}."
    if stress > HIGH_STRESS:
        text += f" Above {HIGH_STRESS} a map distorts distances: read the RDMs beside it."
    return text


def _stimulus_paths(network: NetworkRdms, points: np.ndarray) -> list[MapPath]:
    """Return the stimuli of each category as unconnected points."""
    stimuli = network.stimuli
    n = len(stimuli.names)
    groups = group_ends(stimuli.classes) if stimuli.classes else [("", 0, n)]
    paths = []
    for k, (group, start, stop) in enumerate(groups):
        rows = list(range(start, stop))
        tips = [stimuli.names[row] + (f" ({group})" if group else "") for row in rows]
        shown = rows if stimuli.images is not None else []
        paths.append(MapPath((), points[start:stop], k, tips, shown))
    return paths
