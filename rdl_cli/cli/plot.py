"""`rdl plot`: figures of runs and stores."""

from pathlib import Path
from typing import Annotated

import typer

from rdl_cli.cli.options import make_command
from rdl_cli.commands.settings import HeatmapSettings, MdsSettings

plot = typer.Typer(
    help="Draw RDMs, maps of representations, and errors through training.",
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
        help="the figure to write: .svg, .png or .pdf; repeat for several",
        show_default=False,
    ),
]


def rdm(sources: Sources, out: Out, settings: HeatmapSettings) -> None:
    """RDMs sorted by class: a row for each run or store, a column for each layer."""
    from rdl_cli.commands.plot.plot import plot_rdms

    plot_rdms(sources, out, settings)


def mds(runs: Runs, out: Out, settings: MdsSettings) -> None:
    """Representations as points, as far apart as their RDMs; the layers of each run joined by a path."""
    from rdl_cli.commands.plot.plot import plot_mds

    plot_mds(runs, out, settings)


def curves(runs: Runs, out: Out) -> None:
    """Training and validation error through the epochs: mean and range over seeds."""
    from rdl_cli.commands.plot.plot import plot_curves

    plot_curves(runs, out)


def labels(runs: Runs, out: Out) -> None:
    """Test error over the number of labelled images; `rdl-100` and `rdl-300` are one method."""
    from rdl_cli.commands.plot.plot import plot_labels

    plot_labels(runs, out)


plot.command("rdm")(make_command(HeatmapSettings, rdm))
plot.command("mds")(make_command(MdsSettings, mds))
plot.command("curves")(curves)
plot.command("labels")(labels)
