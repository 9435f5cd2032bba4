"""`rdl reproduce`: run a whole experiment, from its recipe to tables and figures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rdl_cli.cli.options import Cluster, Workers, typed_command

if TYPE_CHECKING:
    from rdl_cli.commands.reproduce.reproduce import ExperimentOptions


def reproduce(
    recipe: Annotated[
        str,
        typer.Argument(help="a recipe of rdl (rdl list recipes), or a .toml file"),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="folder for runs, stores and results [default: the recipe's name]"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="run at the recipe's small size")] = False,
    data_root: Annotated[
        str, typer.Option(help="folder of the data sets [default: $RDL_DATA or data]")
    ] = "",
    download: Annotated[
        bool, typer.Option("--download", help="download missing data sets")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="import code (module:function) that the recipe names")
    ] = False,
    workers: Workers = None,
    cluster: Cluster = "",
    list_runs: Annotated[
        bool, typer.Option("--list", help="print one command for each run, and run nothing")
    ] = False,
    run: Annotated[
        str, typer.Option(metavar="NAME", help="do only one run, by its name in --list")
    ] = "",
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions", help="only write results/predictions.npz from the finished runs"
        ),
    ] = False,
) -> None:
    """Run a whole experiment: teacher, store, every method, tables, figures. Resumes what exists.

    Several commands may work on one folder at once.
    """
    from rdl_cli.commands.reproduce.reproduce import (
        ExperimentOptions,
        list_run_commands,
        run_one_job,
    )

    folder = out or Path(Path(recipe).stem + ("-quick" if quick else ""))
    options = ExperimentOptions(recipe, folder, quick, data_root, download, trust)
    if list_runs:
        sys.stdout.write("".join(f"{command}\n" for command in list_run_commands(options)))
    elif run:
        run_one_job(options, run)
    elif predictions:
        from rdl_cli.commands.console import log
        from rdl_cli.commands.reproduce.predictions import write_predictions

        log(f"written: {write_predictions(options.read(), options.out)}")
    else:
        _run_all(options, workers, cluster)


def _run_all(options: "ExperimentOptions", workers: int | None, cluster: str) -> None:
    from rdl_cli.cli.render.comparison import to_csv, to_json, to_rich
    from rdl_cli.cli.render.latex import to_latex
    from rdl_cli.cli.render.report import render_results, render_trials
    from rdl_cli.cli.render.tables import console
    from rdl_cli.commands.console import log
    from rdl_cli.commands.report.experiment_report import write_experiment_report
    from rdl_cli.commands.reproduce.engines import make_executor
    from rdl_cli.commands.reproduce.figures import draw_figures
    from rdl_cli.commands.reproduce.predictions import write_predictions
    from rdl_cli.commands.reproduce.reproduce import reproduce as job
    from rdl_cli.core.files import make_folder, write_text

    with make_executor(workers, cluster, options.out) as executor:
        result = job(options, executor)
    results = options.out / "results"
    make_folder(results)
    texts = {
        "results.md": render_results(result),
        "results.tex": to_latex(result.final),
        "compare.csv": to_csv(result.final),
        "compare.json": to_json(result.final),
        "compare-best.csv": to_csv(result.best),
    }
    if result.tried:
        texts["tuning.csv"] = render_trials(result.tried)
    for name, text in texts.items():
        write_text(results / name, text)
    figures = draw_figures(result.recipe, options.out, results)
    predictions = write_predictions(result.recipe, options.out)
    write_experiment_report(results / "report.html", result, options.out, typed_command())
    console().print(to_rich(result.final))
    names = ["report.html", *texts, *(figure.name for figure in figures), predictions.name]
    log(f"written: {results}/{', '.join(names)}")
