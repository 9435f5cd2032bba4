"""`rdl plot`: plot RDMs, maps of representations, and errors."""

from pathlib import Path
from typing import Annotated

import typer

from rdl_cli.cli.options import make_command
from rdl_cli.cli.usage import CommandGroup
from rdl_cli.commands.drawing_settings import HeatmapSettings, MdsSettings
from rdl_cli.commands.plot.rsa_settings import RsaSettings
from rdl_cli.commands.style_settings import StyleSettings

plot = typer.Typer(
    cls=CommandGroup,
    help="Plot RDMs, maps of representations, and errors.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN|STORE...", help="finished runs, folders of runs, stores", show_default=False
    ),
]
Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="finished runs, or folders of runs (one for each seed)",
        show_default=False,
    ),
]
Out = Annotated[
    list[Path],
    typer.Option(
        "--out",
        metavar="FILE",
        help="file to write: .svg, .png or .pdf; repeat for several",
        show_default=False,
    ),
]


def rdm(sources: Sources, out: Out, settings: HeatmapSettings) -> None:
    """Plot RDMs sorted by class: a row for each run or store, a column for each layer."""
    from rdl_cli.commands.plot.plot import plot_rdms

    plot_rdms(sources, out, settings)


def mds(runs: Runs, out: Out, settings: MdsSettings) -> None:
    """Plot layers as points, as far apart as their RDMs, a path through those of each run."""
    from rdl_cli.commands.plot.plot import plot_mds

    plot_mds(runs, out, settings)


def curves(runs: Runs, out: Out, settings: StyleSettings) -> None:
    """Plot training and validation error over epochs: mean and range over seeds."""
    from rdl_cli.commands.plot.plot import plot_curves

    plot_curves(runs, out, settings)


def labels(runs: Runs, out: Out, settings: StyleSettings) -> None:
    """Plot test error over the number of labels; `rdl-100` and `rdl-300` are one method."""
    from rdl_cli.commands.plot.plot import plot_labels

    plot_labels(runs, out, settings)


def rsa(sources: Sources, out: Out, settings: RsaSettings) -> None:
    """Plot the similarity of layers to brain regions, with intervals and noise ceilings."""
    from rdl_cli.commands.plot.rsa import plot_rsa

    plot_rsa(sources, out, settings)


def stimuli(sources: Sources, out: Out, settings: HeatmapSettings) -> None:
    """Plot stimuli as points, as far apart as an RDM's distances, a map for each layer."""
    from rdl_cli.commands.plot.stimuli import plot_stimuli

    plot_stimuli(sources, out, settings)


plot.command("rdm")(make_command(HeatmapSettings, rdm))
plot.command("mds")(make_command(MdsSettings, mds))
plot.command("stimuli")(make_command(HeatmapSettings, stimuli))
plot.command("rsa")(make_command(RsaSettings, rsa))
plot.command("curves")(make_command(StyleSettings, curves))
plot.command("labels")(make_command(StyleSettings, labels))
