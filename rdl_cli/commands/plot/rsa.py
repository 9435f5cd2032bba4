"""Plot the similarity of layers to brain regions, with intervals and noise ceilings."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms
from rdl_cli.commands.compare_rdms.results import LayerPair, MeasureTable, RdmComparison
from rdl_cli.commands.plot.output import check_output, read_style, save_figure
from rdl_cli.commands.plot.rsa_settings import RsaSettings
from rdl_cli.core.errors import UserError
from rdl_cli.figures.rsa_bars import RegionPanel, Similarity, draw_rsa


def plot_rsa(sources: Sequence[Path], out: Sequence[Path], settings: RsaSettings) -> Figure:
    """Plot the similarity of all layers to each region, a panel for each region.

    Regions are those of --against or --reference, else those with several subjects.

    Args:
        sources: stores, runs and folders of runs.
        out: the files to write.
        settings: layers, measure and resamples; the first measure is drawn.

    Raises:
        UserError: for bad input, or if no region has several subjects and none is named.
    """
    check_output(out)
    style = read_style(settings)
    comparison = compare_rdms(sources, settings)
    table = comparison.tables[0]
    regions = _find_regions(comparison, table)
    panels = [
        RegionPanel(
            region,
            tuple(
                _to_similarity(region, pair)
                for pair in table.pairs
                if region in (pair.first, pair.second)
                and not {pair.first, pair.second} <= set(regions)
            ),
            next(((c.lower, c.upper) for c in table.ceilings if c.region == region), None),
            next(c.n_subjects for c in comparison.representations if c.name == region),
        )
        for region in regions
    ]
    if not all(panel.similarities for panel in panels):
        raise UserError(
            f"there is no layer beside the regions {', '.join(regions)}",
            hint="name a run or store of layers, or one region with --reference",
        )
    note = f"{comparison.n_stimuli} stimuli"
    if comparison.n_resamples:
        note += "; lines: 95 % intervals over stimuli, and over subjects where there are several"
    return save_figure(draw_rsa(panels, table.measure, settings.kind, note, style=style), out)


def _find_regions(comparison: RdmComparison, table: MeasureTable) -> list[str]:
    """Return the layers of --against or --reference, else the regions with a noise ceiling."""
    regions = list(table.against) or list(dict.fromkeys(d.reference for d in table.differences))
    regions = regions or [ceiling.region for ceiling in table.ceilings]
    if not regions:
        names = ", ".join(layer.name for layer in comparison.representations)
        raise UserError(
            f"none of {names} has several subjects, so no region is known",
            hint="name the regions: --reference IT",
        )
    return regions


def _to_similarity(region: str, pair: LayerPair) -> Similarity:
    name = pair.second if pair.first == region else pair.first
    source, _, layer = name.rpartition("/")
    return Similarity(source, layer, pair.value, pair.low, pair.high)
