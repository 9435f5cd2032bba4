"""`rdl list` and `rdl layers`: the names that other commands take."""

import json
import sys
from typing import Annotated, Any

import typer

from rdl_cli.commands.listing import KINDS

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def listing(
    kind: Annotated[
        str, typer.Argument(help=" or ".join((", ".join([*KINDS][:-1]), [*KINDS][-1])))
    ],
    as_json: Json = False,
) -> None:
    """List the names of one kind, with their options and defaults."""
    from rdl_cli.commands.listing import list_members

    rows = [
        (m.name, ", ".join(f"{k}={v}" for k, v in m.options.items()), m.summary)
        for m in list_members(kind)
    ]
    _print(("name", "options", "description"), rows, as_json)


def list_layers(
    network: Annotated[str, typer.Argument(help="a network (rdl list networks) or a finished run")],
    input_size: Annotated[
        str,
        typer.Option(
            help="channels x height x width of an image [default: the network's own, else 1x28x28]"
        ),
    ] = "",
    classes: Annotated[int, typer.Option(help="number of logits")] = 10,
    trust: Annotated[
        bool, typer.Option("--trust", help="import code that the run's files name")
    ] = False,
    as_json: Json = False,
) -> None:
    """List a network's layers that can be stored, matched and compared, in the order they run."""
    from rdl_cli.commands.listing import list_layers as describe_layers

    rows = [
        (layer.name, " x ".join(map(str, layer.shape)), layer.units)
        for layer in describe_layers(network, input_size, classes, trust)
    ]
    _print(("layer", "shape", "units"), rows, as_json)


def _print(columns: tuple[str, ...], rows: list[tuple[Any, ...]], as_json: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from rdl_cli.cli.render.tables import console

    if as_json:
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        sys.stdout.write(json.dumps(records, indent=2, ensure_ascii=False) + "\n")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console().print(table)
