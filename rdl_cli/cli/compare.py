"""`rdl compare`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rdl_cli.cli.options import Report, check_report_path, typed_command
from rdl_cli.core.errors import UserError


class Epoch(StrEnum):
    final = "final"
    best = "best"


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="finished runs, folders of runs (one for each seed), or one predictions.npz",
        ),
    ],
    epoch: Annotated[
        Epoch,
        typer.Option(help="weights of the final epoch, or of the one best on validation images"),
    ] = Epoch.final,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="compare with this method only: fewer tests"),
    ] = None,
    primary: Annotated[
        str,
        typer.Option(
            metavar="'A - B'", help="the comparison declared before the runs: not corrected"
        ),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="print JSON: everything")] = False,
    csv: Annotated[
        bool,
        typer.Option("--csv", help="print CSV: runs, pairs of runs, methods, pairs of methods"),
    ] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="print LaTeX: tables like the paper's")
    ] = False,
    report: Report = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(help="with --report: layers to show [default: those that follow a teacher]"),
    ] = None,
) -> None:
    """Print test errors with 95 % intervals, McNemar's tests of runs, crossed tests of methods."""
    if json + csv + latex > 1:
        raise UserError("--json, --csv and --latex exclude one another", hint="choose one of them")
    from rdl_cli.cli.render.comparison import to_csv, to_json, to_rich
    from rdl_cli.cli.render.latex import to_latex
    from rdl_cli.cli.render.tables import console
    from rdl_cli.commands.compare.compare import compare as compare_runs

    check_report_path(report)
    comparison = compare_runs(runs, epoch.value, baseline, parse_primary(primary))
    if json or csv or latex:
        render = to_json if json else to_csv if csv else to_latex
        sys.stdout.write(render(comparison))
    else:
        console().print(to_rich(comparison))
    if report:
        from rdl_cli.commands.report.report import write_comparison_report

        write_comparison_report(report, comparison, runs, typed_command(), layers=layers or ())


def parse_primary(text: str) -> tuple[str, str] | None:
    """Return the two methods of `A - B`; None for an empty text. UserError for anything else."""
    if not text:
        return None
    names = tuple(part.strip() for part in text.split(" - "))
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise UserError(f'--primary is "{text}"', hint='write two methods: --primary "A - B"')
    return names[0], names[1]
