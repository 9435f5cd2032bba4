"""`rdl compare`: error rates with intervals, and McNemar's test between every two runs."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rdl_cli.core.errors import UserError


class Epoch(StrEnum):
    final = "final"
    best = "best"


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="finished runs, or folders of runs (one for each seed)"
        ),
    ],
    epoch: Annotated[
        Epoch,
        typer.Option(
            help="weights after the final epoch, or after the epoch that was best on validation images"
        ),
    ] = Epoch.final,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="compare with this method only: fewer tests to correct for"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON: everything")] = False,
    csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="print CSV: a row for every run, pair of runs, method and pair of methods"
        ),
    ] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="print LaTeX: tables like those of the paper")
    ] = False,
) -> None:
    """Test errors with 95 % intervals; McNemar's exact test between every two runs; over seeds, methods."""
    if json + csv + latex > 1:
        raise UserError(
            "--json, --csv and --latex are three ways to print one result",
            hint="choose one of them",
        )
    from rdl_cli.cli.render import comparison as tables
    from rdl_cli.commands.compare.compare import compare as job

    found = job(runs, epoch.value, baseline)
    if json or csv or latex:
        render = tables.to_json if json else tables.to_csv if csv else tables.to_latex
        sys.stdout.write(render(found))
    else:
        tables.console().print(tables.to_rich(found))
