"""Render the results of `rdl reproduce`: a Markdown page and the CSV of the tuning runs."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from rdl_cli.cli.render.comparison import (
    brain_similarity_to_markdown,
    to_list,
    to_markdown,
)
from rdl_cli.cli.render.tables import markdown
from rdl_cli.commands.compare.words import format_percent, legend
from rdl_cli.commands.reproduce.reproduce import ExperimentResult
from rdl_cli.commands.reproduce.tuning import Trial
from rdl_cli.core.safe_text import format_csv


def render_results(result: ExperimentResult) -> str:
    """Return the page: errors at the final and the best epoch, method pairs, tuning runs."""
    recipe = result.recipe
    parts = [
        f"# {recipe.title or recipe.name}",
        f"Errors on {result.final.images:,} test images, with the weights of the final epoch and "
        "of the epoch with the lowest validation error.",
        to_markdown(result.final, result.best, recipe.paper),
    ]
    if result.final.brain_similarities:
        parts += [
            "## Brain similarity (Spearman's correlation of RDMs) after the final epoch",
            brain_similarity_to_markdown(result.final),
        ]
    for comparison, epoch in (
        (result.final, "after the final epoch"),
        (result.best, "at the epoch with the lowest validation error"),
    ):
        if comparison.method_pairs:
            parts += [f"## Pairs of methods, {epoch}", to_list(comparison)]
    if result.final.method_pairs:
        parts.append(legend(result.final))
    if result.tried:
        parts += ["## Tuning", _tuning_note(recipe.tuning), _trials_to_markdown(result.tried)]
    return "\n\n".join(parts) + "\n"


def render_trials(trials: Sequence[Trial]) -> str:
    """Return CSV: one row for each trial, one column for each option.

    `validation_error` is a fraction, not percent.
    """
    options = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    rows: list[dict[str, Any]] = []
    columns = ["method", *options, "validation_error", "chosen"]
    for trial in trials:
        row: dict[str, Any] = {k: _format_value(value) for k, value in trial.settings.items()}
        row |= {"method": trial.method, "validation_error": trial.error, "chosen": trial.chosen}
        rows.append(row)
    return format_csv(columns, rows)


def _tuning_note(tuning: dict[str, Any]) -> str:
    text = (
        "The setting with the lowest validation error after the last epoch was chosen. Test images "
        "were not used."
    )
    return text + (f" Tuning runs had {_format_settings(tuning)}." if tuning else "")


def _trials_to_markdown(trials: Sequence[Trial]) -> str:
    rows = [["method", "setting", "validation error %", ""]]
    for trial in trials:
        error = format_percent(trial.error) if isfinite(trial.error) else "diverged"
        chosen = "chosen" if trial.chosen else ""
        rows.append([trial.method, _format_settings(trial.settings), error, chosen])
    return markdown(rows)


def _format_settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_format_value(value)}" for name, value in settings.items())


def _format_value(value: Any) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)
