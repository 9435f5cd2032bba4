"""Write a report: one HTML page about a comparison, an experiment or representations."""

from collections.abc import Sequence
from pathlib import Path

from rdl_cli.commands.compare.compare import Comparison
from rdl_cli.commands.compare.tested_runs import find_methods
from rdl_cli.commands.console import log
from rdl_cli.commands.report.comparison_sections import (
    brain_section,
    error_section,
    lead,
    pair_section,
    question_section,
)
from rdl_cli.commands.report.run_sections import (
    RunsByMethod,
    curve_section,
    fraction_section,
    origin_section,
    settings_section,
)
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import write_text
from rdl_cli.report.html import render_page
from rdl_cli.report.page import Commands, Page, Section, Table
from rdl_cli.runs.prediction_table import SUFFIX

MAX_BYTES = 5_000_000


def write_comparison_report(
    path: Path,
    comparison: Comparison,
    sources: Sequence[Path],
    command: str,
    title: str = "",
    layers: Sequence[str] = (),
    per_class: int = 10,
    tuning: Table | None = None,
    others: Sequence[str] = (),
) -> None:
    """Write the report of a comparison of runs.

    Args:
        path: the file to write.
        comparison: of the runs at or below `sources`, or of one predictions.npz.
        sources: as they were compared.
        command: that makes the page.
        title: [default: the methods' names].
        layers: whose RDMs are shown [default: the layers that follow a teacher].
        per_class: images of each class in an RDM.
        tuning: the settings that were tried.
        others: commands beside those of the runs' provenance.
    """
    is_table = len(sources) == 1 and sources[0].suffix == SUFFIX
    runs = {} if is_table else find_methods(sources)
    sections: list[Section | None] = [question_section(comparison), error_section(comparison)]
    if comparison.method_pairs:
        sections.append(pair_section(comparison))
    if comparison.brain_similarities:
        sections.append(brain_section(comparison))
    if runs:
        sections += [curve_section(runs), *_geometry(runs, layers, per_class)]
        sections += [fraction_section(runs), settings_section(runs)]
    if tuning:
        sections.append(Section("Tuning", [tuning]))
    if runs:
        sections.append(origin_section(runs, command, others))
    else:
        sections.append(Section("Provenance", [Commands([command])]))
    names = [method.name for method in comparison.methods]
    title = title or "Test errors: " + ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    save(path, Page(title, lead(comparison), [s for s in sections if s]))


def save(path: Path, page: Page) -> None:
    """Write a page."""
    text = render_page(page)
    write_text(path, text)
    size = len(text.encode())
    log(f"{path}: written ({size / 1e6:.1f} MB)")
    if size > MAX_BYTES:
        log("note: the report is larger than 5 MB; pass fewer --layers or runs")


def _geometry(runs: RunsByMethod, layers: Sequence[str], per_class: int) -> list[Section | None]:
    """Return RDMs and maps of the first seed of each method; a note where images are missing."""
    from rdl_cli.commands.report.rdm_sections import (
        layer_map_section,
        missing_section,
        rdm_section,
        stimulus_map_section,
    )
    from rdl_cli.commands.report.run_rdms import followed_layers, read_run_networks

    patterns = list(layers) or followed_layers(runs)
    if not patterns:
        return []
    try:
        networks = read_run_networks(runs, patterns, per_class)
    except UserError as error:
        return [missing_section(error)]
    return [
        rdm_section(networks, "Euclidean distance"),
        layer_map_section(networks),
        stimulus_map_section(networks),
    ]
