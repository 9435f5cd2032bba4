"""`rdl reproduce`: an experiment from nothing to its tables and figures."""

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    recipe: Annotated[
        str,
        typer.Argument(help="a recipe that comes with rdl, or a .toml file", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="folder for runs, store and results [default: the recipe's name]"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="the same at reduced size")] = False,
    data_root: Annotated[
        str, typer.Option(help="where data sets lie [default: $RDL_DATA or data]")
    ] = "",
    download: Annotated[
        bool, typer.Option("--download", help="fetch data sets where they are missing")
    ] = False,
) -> None:
    """Run a whole experiment, or go on with it where it stopped: teacher, store, every method, tables, figures."""
    from rdl_cli.cli.render.comparison import console, to_csv, to_json, to_rich
    from rdl_cli.cli.render.report import render_results, render_trials
    from rdl_cli.commands.console import log
    from rdl_cli.commands.reproduce.reproduce import draw_figures
    from rdl_cli.commands.reproduce.reproduce import reproduce as job
    from rdl_cli.core.files import make_folder, write_text

    place = out or Path(Path(recipe).stem + ("-quick" if quick else ""))
    done = job(recipe, place, quick, data_root, download)
    results = place / "results"
    make_folder(results)
    texts = {
        "results.md": render_results(done),
        "compare.csv": to_csv(done.final),
        "compare.json": to_json(done.final),
    }
    texts |= {"compare-best.csv": to_csv(done.best)} | (
        {"tuning.csv": render_trials(done.tried)} if done.tried else {}
    )
    for name, text in texts.items():
        write_text(results / name, text)
    figures = draw_figures(done.recipe, place, results)
    console().print(to_rich(done.final))
    log(f"written: {results}/{', '.join([*texts, *(figure.name for figure in figures)])}")
