"""`rdl show`."""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

import typer


def show(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="a run, a store or an experiment", show_default=False),
    ],
    verify: Annotated[
        bool,
        typer.Option("--verify", help="read every number and check its checksum (1 GB: 0.7 s)"),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON: everything")] = False,
) -> None:
    """Show a run's or store's contents, errors and provenance, and whether its inputs changed.

    Of an experiment's folder: which runs are done, running, failed or waiting.
    """
    from rdl_cli.cli.render.show import to_rich
    from rdl_cli.cli.render.tables import console
    from rdl_cli.commands.show import as_dict
    from rdl_cli.commands.show import show as summarise

    summary = summarise(path, verify)
    if json:
        text = json_text.dumps(as_dict(summary), indent=2, ensure_ascii=False, allow_nan=False)
        sys.stdout.write(text + "\n")
    else:
        console().print(to_rich(summary))
