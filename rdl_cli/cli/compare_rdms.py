"""`rdl compare-rdms`: how alike representations are, with intervals, tests and noise ceilings."""

import csv as csv_text
import io
import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from rdl_cli.cli.options import make_command
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError

if TYPE_CHECKING:
    from rdl_cli.commands.compare_rdms.compare_rdms import LayerPair, MeasureTable, RdmComparison
    from rdl_cli.commands.compare_rdms.self_check import SelfCheck

COLUMNS = (
    "table",
    "measure",
    "first",
    "second",
    "value",
    "low",
    "high",
    "p",
    "holm",
    "subjects",
    "n",
    "settings",
)
CHECKS = ("layer", "measure", "copy", "found", "expected", "deviation", "passed")
PLACES = 3


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
        bool, typer.Option("--csv", help="print CSV: a row for every pair and every noise ceiling")
    ] = False,
) -> None:
    """How alike representations are: RSA, CKA and Bayesian measures between layers, brains and networks, with noise ceilings."""
    if json and csv:
        raise UserError(
            "--json and --csv are two ways to print one result", hint="choose one of them"
        )
    from rdl_cli.cli.render.tables import console
    from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms as job
    from rdl_cli.commands.compare_rdms.self_check import self_check

    found = self_check(sources, settings) if settings.self_check else job(sources, settings)
    if json:
        sys.stdout.write(
            json_text.dumps(found.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        )
    elif csv:
        sys.stdout.write(as_csv(found))
    else:
        console().print(to_rich(found))
    if settings.self_check and not found.passed:  # type: ignore[union-attr]
        raise typer.Exit(1)


compare_rdms = make_command(CompareRdmsSettings, _compare_rdms)


def to_rich(found: "RdmComparison | SelfCheck") -> RenderableType:
    from rdl_cli.commands.compare_rdms.self_check import SelfCheck

    return _checks(found) if isinstance(found, SelfCheck) else _tables(found)


def as_csv(found: "RdmComparison | SelfCheck") -> str:
    """One rectangle; of a comparison its first column says what a row is: `pair` or `ceiling` (low and high are its bounds)."""
    from rdl_cli.commands.compare_rdms.self_check import SelfCheck

    text = io.StringIO()
    writer = csv_text.DictWriter(
        text, CHECKS if isinstance(found, SelfCheck) else COLUMNS, lineterminator="\n"
    )
    writer.writeheader()
    if isinstance(found, SelfCheck):
        writer.writerows(found.as_dict()["checks"])
        return text.getvalue()
    for table in found.tables:
        about = {"measure": table.measure, "n": found.stimuli, "settings": _settings(table)}
        for pair in table.pairs:
            writer.writerow({"table": "pair", **about, **vars(pair)})
        for each in table.ceilings:
            bounds = {
                "first": each.region,
                "low": each.lower,
                "high": each.upper,
                "subjects": each.subjects,
            }
            writer.writerow({"table": "ceiling", **about, **bounds})
    return text.getvalue()


def _tables(found: "RdmComparison") -> RenderableType:
    from rdl_cli.cli.render.tables import add_row, empty_table

    sides = empty_table(
        f"{found.stimuli} stimuli, aligned by {found.align}",
        "representation",
        "known as",
        "RDM's distance",
        "subjects",
    )
    for side in found.sides:
        add_row(
            sides,
            side.name,
            side.said if side.of == "RDM" else side.of,
            side.distance or "unknown",
            str(side.subjects),
        )
    parts: list[RenderableType] = [sides]
    for table in found.tables:
        parts += _measured(table, [side.name for side in found.sides])
    return Group(*parts, Text(legend(found), style="dim"))


def _measured(table: "MeasureTable", names: list[str]) -> list[RenderableType]:
    from rdl_cli.cli.render.tables import add_row, empty_table
    from rdl_cli.commands.compare.method_pairs import format_p

    parts: list[RenderableType] = [Text(f"{table.measure} ({_settings(table)})", style="bold")]
    if table.pairs:
        matrix = empty_table("All", "", *names)
        for name, values in zip(names, table.values, strict=True):
            add_row(
                matrix,
                name,
                *(
                    "—" if other == name else _number(value)
                    for other, value in zip(names, values, strict=True)
                ),
            )
        parts.append(matrix)
    if any(pair.p is not None for pair in table.pairs):
        pairs = empty_table("Pairs", "first", "second", "value", "95 %", "p", "Holm")
        for pair in table.pairs:
            chance = (
                ["–", "–"]
                if pair.p is None or pair.holm is None
                else [format_p(pair.p), format_p(pair.holm)]
            )
            add_row(pairs, pair.first, pair.second, _number(pair.value), _interval(pair), *chance)
        parts.append(pairs)
    if table.ceilings:
        ceilings = empty_table("Noise ceilings", "region", "subjects", "lower", "upper")
        for each in table.ceilings:
            add_row(
                ceilings, each.region, str(each.subjects), _number(each.lower), _number(each.upper)
            )
        parts.append(ceilings)
    return parts


def _checks(found: "SelfCheck") -> RenderableType:
    from rdl_cli.cli.render.tables import add_row, empty_table

    table = empty_table(
        f"Copies of each representation, {found.stimuli} stimuli",
        *("layer", "measure", "copy", "found", "theory", "off by", ""),
    )
    for check in found.checks:
        if check.expected is None or check.deviation is None:
            add_row(
                table,
                check.layer,
                check.measure,
                check.copy,
                f"{check.found:.6f}",
                "sees it",
                "–",
                "",
            )
            continue
        theory, off = f"{check.expected:.6g}", f"{check.deviation:.1e}"
        add_row(
            table,
            check.layer,
            check.measure,
            check.copy,
            f"{check.found:.6f}",
            theory,
            off,
            "pass" if check.passed else "FAIL ←",
        )
    verdict = (
        "Every measure gives what theory says."
        if found.passed
        else "Not every measure gives what theory says."
    )
    return Group(table, Text(verdict))


def legend(found: "RdmComparison") -> str:
    """What the numbers mean, a sentence to a line."""
    lines = []
    if any(side.subjects > 1 for side in found.sides):
        lines.append(
            "A region of several subjects is compared subject by subject, and the values averaged; REGION@mean is the RDM of their mean."
        )
        lines.append("The true model of a region has a value between its ceilings.")
    if found.draws and any(table.pairs for table in found.tables):
        over = "stimuli, and over subjects where there are several"
        lines.append(
            f"95 %: {found.draws:,} bootstrap draws over {over}. p: as many orders of the stimuli, one-sided."
        )
        pairs = max(len(table.pairs) for table in found.tables)
        least = pairs / (found.draws + 1)
        more = (
            f" None of {pairs:,} pairs can get below {least:.2g} with so few draws: take more, or fewer --layers."
            if least > 0.05
            else ""
        )
        lines.append("Holm corrects p for all pairs of its table." + more)
    if any("b" in table.settings for table in found.tables):
        lines.append("Bayesian values of different n, b or a can't be compared.")
    return "\n".join(lines)


def _settings(table: "MeasureTable") -> str:
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in table.settings.items()
    )


def _number(value: float) -> str:
    return f"{value:.{PLACES}f}"


def _interval(pair: "LayerPair") -> str:
    return (
        "–"
        if pair.low is None or pair.high is None
        else f"[{_number(pair.low)}, {_number(pair.high)}]"
    )
