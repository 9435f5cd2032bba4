"""`rdl demo`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rdl_cli.core.errors import UserError


def demo(
    out: Annotated[
        Path | None,
        typer.Argument(
            help="folder for all files [default: rdl-demo, or rdl-demo-brain]", show_default=False
        ),
    ] = None,
    brain: Annotated[
        bool,
        typer.Option("--brain", help="human IT as the teacher: fetches two public files, 3.8 MB"),
    ] = False,
    data_root: Annotated[
        str,
        typer.Option(help="with --brain: folder of the two files [default: $RDL_DATA or data]"),
    ] = "",
) -> None:
    """Run the four verbs on embedded images: teacher, store, students, comparison (1 to 3 min)."""
    from rdl_cli.cli.render.comparison import to_rich
    from rdl_cli.cli.render.tables import console

    if brain:
        from rdl_cli.cli.render.rdm_comparison import to_rich as rdms_to_rich
        from rdl_cli.commands.demo_brain import demo_brain

        results = demo_brain(out or Path("rdl-demo-brain"), data_root)
        console().print(to_rich(results.comparison), rdms_to_rich(results.rdm_comparison))
        print(results.ending, file=sys.stderr)
        return
    if data_root:
        raise UserError(
            f"--data-root {data_root} is for --brain; the demo's digits are part of scikit-learn",
            hint="add --brain, or leave out --data-root",
        )
    from rdl_cli.commands.demo import demo as run_demo

    comparison, ending = run_demo(out or Path("rdl-demo"))
    console().print(to_rich(comparison))
    print(ending, file=sys.stderr)
