"""Tables for a terminal and for Markdown."""

import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rdl_cli.commands.console import SafeConsole


def console() -> Console:
    """Return standard output as a console; in a pipe or file as wide as its tables.

    rich would cut them at 80 characters there.
    """
    return SafeConsole() if sys.stdout.isatty() else SafeConsole(width=10_000)


def empty_table(title: str, first: str, *others: str) -> Table:
    """Return a table without rows; long names fold, and [brackets] in names are no markup."""
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(first), overflow="fold")
    for name in others:
        table.add_column(Text(name), justify="right", overflow="fold")
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row; a cell with an arrow is bold."""
    table.add_row(
        *(Text(cell, style="bold" if "↑" in cell or "←" in cell else "") for cell in cells)
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose header is the first row; a bar in a cell is escaped."""
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in ruled
    )
