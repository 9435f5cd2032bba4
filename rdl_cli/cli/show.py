"""`rdl show`: what a run or a store is, and whence it came."""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

import typer


def show(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="a run or a store", show_default=False)
    ],
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="read every number and compare it with its digest (1 GB: 0.7 s)"
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON: everything")] = False,
) -> None:
    """What a run or a store is, how good it became, and which of the files it was made from have changed since."""
    from rdl_cli.cli.render import comparison as tables
    from rdl_cli.cli.render import show as cards
    from rdl_cli.commands.show import as_dict
    from rdl_cli.commands.show import show as job

    card = job(path, verify)
    if json:
        sys.stdout.write(
            json_text.dumps(as_dict(card), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        )
    else:
        tables.console().print(cards.to_rich(card))
