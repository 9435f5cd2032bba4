"""Write the report of a comparison of representations."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rdl_cli.commands.compare_rdms.compare_rdms import read_representations
from rdl_cli.commands.compare_rdms.representation import Representation
from rdl_cli.commands.compare_rdms.results import RdmComparison
from rdl_cli.commands.compare_rdms.sources import Source, open_sources, select_stimuli
from rdl_cli.commands.report.rdm_sections import (
    NetworkRdms,
    layer_map_section,
    rdm_section,
    stimulus_map_section,
)
from rdl_cli.commands.report.rdm_tables import (
    ceiling_charts,
    measure_tables,
    representation_table,
)
from rdl_cli.commands.report.report import save
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.provenance import versions
from rdl_cli.report.page import Charts, Commands, Page, Section, StimulusSet, Text
from rdl_cli.rsa.measures import MEASURES


def write_rdm_report(
    path: Path,
    comparison: RdmComparison,
    sources: Sequence[Path],
    settings: CompareRdmsSettings,
    command: str,
) -> None:
    """Write the report of a comparison of the sources with these settings."""
    names = [layer.name for layer in comparison.representations]
    question = (
        f"How similar are the {len(names)} representations of the same"
        f" {comparison.n_stimuli} stimuli?"
    )
    sections: list[Section | None] = [
        Section("Question", [Text([question]), representation_table(comparison)])
    ]
    for table in comparison.tables:
        charts = ceiling_charts(table)
        caption = (
            "Bars: similarity with each subject's RDM, mean over subjects, with its 95 % interval."
            " The true model of a region is within its noise ceiling (Nili et al. 2014)."
        )
        blocks = [Charts(charts, caption=caption)] if charts else []
        title = f"Similarity, {table.measure}"
        sections.append(Section(title, [*blocks, *measure_tables(comparison, table)]))
    networks = _read_networks(sources, settings)
    sections += [
        rdm_section(networks, settings.distance or "distance"),
        layer_map_section(networks),
        stimulus_map_section(networks),
        Section(
            "Provenance",
            [
                Text([f"Sources: {', '.join(map(str, sources))}."]),
                Text(["Versions: " + ", ".join(f"{k} {v}" for k, v in versions().items()) + "."]),
                Commands([command]),
            ],
        ),
    ]
    title = "Representations: " + ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    save(path, Page(title, _lead(comparison), [s for s in sections if s]))


def _lead(comparison: RdmComparison) -> str:
    table = comparison.tables[0]
    pairs = [pair for pair in table.pairs if pair.first != pair.second]
    if not pairs:
        return f"{table.measure} over {comparison.n_stimuli} stimuli."
    pair = max(pairs, key=lambda pair: pair.value)
    return (
        f"{pair.first} and {pair.second} are most similar: {table.measure} {pair.value:.3f} over"
        f" {comparison.n_stimuli} stimuli."
    )


def _read_networks(sources: Sequence[Path], settings: CompareRdmsSettings) -> list[NetworkRdms]:
    """Return the compared representations by source, their stimuli sorted by category."""
    opened = open_sources(sources, settings)
    rows = select_stimuli(opened, settings)
    stimuli, order = _read_stimuli(opened, rows)
    grouped: dict[str, dict[str, np.ndarray]] = {}
    for layer in read_representations(sources, settings):
        source, slash, name = layer.name.rpartition("/")
        square = _mean_rdm(layer, settings)[np.ix_(order, order)]
        i, j = np.triu_indices(len(order), 1)
        grouped.setdefault(source, {})[name if slash else layer.name] = square[i, j]
    return [
        NetworkRdms(name, rdms, stimuli, series=k) for k, (name, rdms) in enumerate(grouped.items())
    ]


def _mean_rdm(layer: Representation, settings: CompareRdmsSettings) -> np.ndarray:
    """Return the RDM (n, n) that the measures of RDMs compare, averaged over subjects."""
    values = layer.to_measure_input(MEASURES.find("pearson"), settings.distance)
    n = layer.n_stimuli
    square = np.zeros((n, n))
    i, j = np.triu_indices(n, 1)
    square[i, j] = square[j, i] = values.nanmean(0).numpy()
    return square


def _read_stimuli(
    sources: Sequence[Source], rows: Sequence[np.ndarray]
) -> tuple[StimulusSet, np.ndarray]:
    """Return names, categories and images of the stimuli, and their order by category."""
    n = len(rows[0])
    names: tuple[str, ...] = tuple(f"stimulus {k + 1}" for k in range(n))
    labels, images = None, None
    classes: tuple[str, ...] = ()
    for source, own in zip(sources, rows, strict=True):
        if source.stimuli.names is not None:
            names = tuple(str(source.stimuli.names[row]) for row in own)
        if source.labels is not None and labels is None:
            labels = source.labels[own]
            known = source.classes
            classes = tuple(known[k] if known else str(k) for k in labels.tolist())
        if images is None:
            images = source.read_images(own)
    order = np.arange(n) if labels is None else np.argsort(labels, kind="stable")
    stimuli = StimulusSet(
        tuple(names[k] for k in order),
        tuple(classes[k] for k in order) if classes else (),
        None if images is None else images[order],
    )
    return stimuli, order
