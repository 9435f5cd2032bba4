"""`rdl reproduce`: an experiment from nothing to its tables and figures."""

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    recipe: Annotated[str, typer.Argument(help="a recipe that comes with rdl, or a .toml file", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="folder for runs, store and results [default: the recipe's name]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="the same at reduced size")] = False,
    data_root: Annotated[str, typer.Option(help="where data sets lie [default: $RDL_DATA or data]")] = "",
    download: Annotated[bool, typer.Option("--download", help="fetch data sets where they are missing")] = False,
) -> None:
    """Run a whole experiment, or go on with it where it stopped: teacher, store, every method, tables, figures."""
    from rdl_cli.cli.render.comparison import as_csv, as_json, as_rich, console
    from rdl_cli.cli.render.report import page, tried
    from rdl_cli.commands.console import say
    from rdl_cli.commands.reproduce.reproduce import draw
    from rdl_cli.commands.reproduce.reproduce import reproduce as job
    from rdl_cli.core.files import make_folder, sweep, write_text

    place = out or Path(Path(recipe).stem + ("-quick" if quick else ""))
    done = job(recipe, place, quick, data_root, download)
    results = place / "results"
    make_folder(results)
    sweep(results)
    texts = {"results.md": page(done), "compare.csv": as_csv(done.final), "compare.json": as_json(done.final)}
    texts |= {"compare-best.csv": as_csv(done.best)} | ({"tuning.csv": tried(done.tried)} if done.tried else {})
    for name, text in texts.items():
        write_text(results / name, text)
    figures = draw(done.recipe, place, results)
    console().print(as_rich(done.final))
    say(f"written: {results}/{', '.join([*texts, *(figure.name for figure in figures)])}")
