"""The page and the table that `rdl reproduce` leaves beside its figures."""

import csv
import io
from collections.abc import Sequence
from math import isfinite
from typing import Any

from rdl_cli.cli.render.comparison import (
    brain_similarity_to_markdown,
    format_percent,
    legend,
    markdown,
    to_list,
    to_markdown,
)
from rdl_cli.commands.reproduce.reproduce import ExperimentResult, Trial


def render_results(done: ExperimentResult) -> str:
    """The comparison with the weights of the final epoch, that with those best on validation, and what was tried before."""
    recipe = done.recipe
    parts = [
        f"# {recipe.title or recipe.name}",
        f"Errors on {done.final.images:,} test images, with the weights of the final epoch and of the epoch that was best on validation "
        "images.",
        to_markdown(done.final, done.best, recipe.paper),
    ]
    if done.final.brain_similarities:
        parts += [
            "## Brain similarity to the brain (Spearman's correlation of RDMs), after the final epoch",
            brain_similarity_to_markdown(done.final),
        ]
    for found, which in (
        (done.final, "after the final epoch"),
        (done.best, "at the epoch that was best on validation images"),
    ):
        parts += [f"## Every two methods, {which}", to_list(found)] if found.method_pairs else []
    if done.final.method_pairs:
        parts.append(legend(done.final))
    if done.tried:
        said = ", ".join(
            f"{name} = {_format_value(value)}" for name, value in recipe.tuning.items()
        )
        parts += [
            "## What was tried, on validation images",
            "The test images had no say in it: each run is judged by its error on validation images after its last epoch, "
            "and the setting with the lowest is kept."
            + (f" Tuning runs had {said}." if said else ""),
            _table(done.tried),
        ]
    return "\n\n".join(parts) + "\n"


def render_trials(trials: Sequence[Trial]) -> str:
    """CSV: a row for each setting that was tried, a column for each option; `validation_error` is a share, not percent."""
    options = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["method", *options, "validation_error", "chosen"], lineterminator="\n"
    )
    writer.writeheader()
    for trial in trials:
        row = {name: _format_value(value) for name, value in trial.settings.items()}
        writer.writerow(
            row | {"method": trial.method, "validation_error": trial.error, "chosen": trial.chosen}
        )
    return text.getvalue()


def _table(trials: Sequence[Trial]) -> str:
    rows = [["method", "tried", "validation error %", ""]]
    for trial in trials:
        settings = ", ".join(
            f"{name} = {_format_value(value)}" for name, value in trial.settings.items()
        )
        error = format_percent(trial.error) if isfinite(trial.error) else "diverged"
        rows.append([trial.method, settings, error, "chosen" if trial.chosen else ""])
    return markdown(rows)


def _format_value(value: Any) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)
