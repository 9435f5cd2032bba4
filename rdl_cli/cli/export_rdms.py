"""`rdl export-rdms`."""

from pathlib import Path
from typing import Annotated

import typer

from rdl_cli.cli.options import DryRun
from rdl_cli.commands.settings import FORMATS, ExportSettings
from rdl_cli.core.errors import UserError


def export_rdms(
    source: Annotated[
        str,
        typer.Argument(
            help="the teacher's run; a network (torchvision:NAME) with --weights; or a store,"
            " whose RDMs another program is to read",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="the store to make or to add layers to; or .h5, .mat, .npz", show_default=False
        ),
    ],
    settings: ExportSettings,
    format: Annotated[
        str,
        typer.Option(
            help=f"of a store's RDMs: {', '.join(dict.fromkeys(FORMATS.values()))}"
            " [default: by the suffix]"
        ),
    ] = "",
    stimuli: Annotated[
        Path | None,
        typer.Option(help="a folder of images or a brain's store, in place of a data set"),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Store a teacher's activations, RDMs or kernels; or write a store's RDMs to a file."""
    if Path(source).is_file():
        if stimuli:
            raise UserError(
                f"--stimuli is for a run; {source} is a file",
                hint="name a run, or leave out --stimuli",
            )
        from rdl_cli.commands.export_rdms.to_file import export_to_file

        export_to_file(Path(source), out, settings, format, dry_run)
        return
    if format:
        raise UserError(
            f"--format {format} is for the RDMs of a store; {source} is not one",
            hint="name a store, or leave out --format",
        )
    if stimuli:
        from rdl_cli.commands.export_rdms.brain_stimuli import export_over_stimuli

        export_over_stimuli(source, stimuli, out, settings, dry_run)
        return
    if settings.like:
        raise UserError(
            f"--like {settings.like} is for --stimuli; a data set has its own order",
            hint="leave it out",
        )
    from rdl_cli.commands.export_rdms.export_rdms import export_rdms as export

    export(source, out, settings, dry_run)
