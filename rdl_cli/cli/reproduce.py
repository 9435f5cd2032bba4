"""`rdl reproduce`: an experiment from nothing to its tables."""

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
    """Run a whole experiment, or go on with it where it stopped: teacher, store, every method, tables."""
    from rdl_cli.cli.tables import as_csv, as_json, as_markdown, as_rich, console
    from rdl_cli.core.files import write_text
    from rdl_cli.jobs.console import say
    from rdl_cli.jobs.plot import plot_curves
    from rdl_cli.jobs.reproduce import reproduce as job

    place = out or Path(Path(recipe).stem + ("-quick" if quick else ""))
    done, compared = job(recipe, place, quick, data_root, download)
    results = place / "results"
    results.mkdir(exist_ok=True)
    write_text(results / "compare.csv", as_csv(compared))
    write_text(results / "compare.json", as_json(compared))
    write_text(results / "results.md", as_markdown(done.title, compared, done.paper))
    methods = [place / name for name in done.methods]
    plot_curves(methods, [results / "curves.svg", results / "curves.png"])
    console().print(as_rich(compared))
    say(f"written: {results}/results.md, compare.csv, compare.json, curves.svg, curves.png")
