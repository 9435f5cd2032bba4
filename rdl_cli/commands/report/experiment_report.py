"""Write the report of a finished experiment."""

from math import inf, isfinite
from pathlib import Path
from typing import Any

from rdl_cli.commands.compare.words import format_percent
from rdl_cli.commands.report.report import write_comparison_report
from rdl_cli.commands.reproduce.reproduce import ExperimentResult, list_compared_paths
from rdl_cli.commands.reproduce.tuning import Trial
from rdl_cli.report.page import Cell, Table


def write_experiment_report(path: Path, result: ExperimentResult, out: Path, command: str) -> None:
    """Write the report of an experiment whose runs are in the folder `out`."""
    recipe = result.recipe
    stores = [store.settings.layers for store in recipe.stores.values()]
    write_comparison_report(
        path,
        result.final,
        list_compared_paths(recipe, out),
        command,
        title=recipe.title or recipe.name,
        layers=recipe.figures.layers or (stores[0] if stores else ()),
        per_class=recipe.figures.per_class,
        tuning=_tuning_table(result.tried, recipe.tuning) if result.tried else None,
    )


def _tuning_table(trials: tuple[Trial, ...], tuning: dict[str, Any]) -> Table:
    rows = [
        [
            trial.method,
            _format_settings(trial.settings),
            Cell(format_percent(trial.error), trial.error)
            if isfinite(trial.error)
            else Cell("diverged", inf),
            Cell("chosen" if trial.chosen else "", strong=True),
        ]
        for trial in trials
    ]
    note = (
        "The setting with the lowest validation error after the last epoch was chosen. Test images"
        " were not used."
    )
    note += f" Tuning runs had {_format_settings(tuning)}." if tuning else ""
    columns = ["method", "setting", "validation error %", ""]
    return Table(columns, rows, "Settings that were tried", note)


def _format_settings(settings: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} = {' + '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in settings.items()
    )
