"""`rdl import-rdms`."""

from pathlib import Path
from typing import Annotated

import typer

from rdl_cli.cli.options import DryRun
from rdl_cli.commands.settings import ImportSettings


def import_rdms(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="files of RDMs, or of responses (rdl list formats)", show_default=False
        ),
    ],
    store: Annotated[Path, typer.Argument(help="the store to make", show_default=False)],
    settings: ImportSettings,
    dry_run: DryRun = False,
) -> None:
    """Make a store of measured RDMs: of a brain, of a model, of human judgements."""
    from rdl_cli.commands.import_rdms import import_rdms as import_files

    import_files(files, store, settings, dry_run)
