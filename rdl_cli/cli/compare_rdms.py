"""`rdl compare-rdms`: similarities of representations, intervals, tests and noise ceilings."""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

import typer

from rdl_cli.cli.options import Report, check_report_path, make_command, typed_command
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError


def _compare_rdms(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="STORE|RUN...", help="stores and finished runs", show_default=False),
    ],
    settings: CompareRdmsSettings,
    json: Annotated[
        bool, typer.Option("--json", help="print JSON: everything, the matrices too")
    ] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="print CSV: a row for each pair, difference and ceiling")
    ] = False,
    report: Report = None,
) -> None:
    """Compare representations: RSA, CKA and Bayesian measures, with noise ceilings."""
    if json and csv:
        raise UserError(
            "--json and --csv are two ways to print one result", hint="choose one of them"
        )
    if report and settings.self_check:
        raise UserError("--report shows no self-check", hint="leave one of them out")
    from rdl_cli.cli.render.rdm_comparison import to_csv, to_rich
    from rdl_cli.cli.render.tables import console
    from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms
    from rdl_cli.commands.compare_rdms.self_check import SelfCheck, self_check

    check_report_path(report)
    run = self_check if settings.self_check else compare_rdms
    result = run(sources, settings)
    if json:
        record = result.as_dict()
        text = json_text.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        sys.stdout.write(text + "\n")
    elif csv:
        sys.stdout.write(to_csv(result))
    else:
        console().print(to_rich(result))
    if report and not isinstance(result, SelfCheck):
        from rdl_cli.commands.report.rdm_report import write_rdm_report

        write_rdm_report(report, result, sources, settings, typed_command())
    if isinstance(result, SelfCheck) and not result.passed:
        raise typer.Exit(1)


compare_rdms = make_command(CompareRdmsSettings, _compare_rdms)
