"""Trials of a method: their folders, their validation errors, and the setting that is chosen."""

from dataclasses import replace
from hashlib import sha256
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rdl_cli.commands.options import to_config
from rdl_cli.commands.reproduce.outcomes import read_failure
from rdl_cli.commands.reproduce.recipe import Recipe
from rdl_cli.commands.settings import StudentSettings
from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import Run, seed_folder

MAX_FOLDER_BYTES = 200
"""Bytes of a folder's name; file systems allow 255."""


class Trial(NamedTuple):
    """A setting that was tried. `error` is the validation error after the last epoch.

    The error is infinite if training diverged. `chosen` is True for the lowest error.
    """

    method: str
    settings: dict[str, Any]
    error: float
    chosen: bool


def trial_settings(recipe: Recipe, method: str, trial: dict[str, Any]) -> StudentSettings:
    """Return the settings of a tuning run."""
    return replace(recipe.methods[method], **{"seeds": ""} | recipe.tuning | trial)


def trial_path(out: Path, method: str, trial: dict[str, Any]) -> Path:
    """Return the folder of a trial: its settings, or their digest if they are too long."""
    name = ",".join(f"{key}={value}" for key, value in trial.items()).replace("/", "_")
    if len(name.encode()) > MAX_FOLDER_BYTES:
        name = sha256(name.encode()).hexdigest()[:16]
    return out / "tuning" / method / name


def read_trials(recipe: Recipe, out: Path, method: str) -> list[Trial]:
    """Return the finished trials of a method. A single trial leaves no choice and is not run."""
    trials = recipe.trials(method)
    if recipe.tuned_method(method) != method or len(trials) < 2:
        return []
    errors = [_error(recipe, out, method, trial) for trial in trials]
    best = errors.index(min(errors))
    if errors[best] == inf:
        raise UserError(
            f"every setting that was tried for {method} diverged",
            hint=f"write lower values into [methods.{method}.tune]",
        )
    return [
        Trial(method, trial, error, k == best)
        for k, (trial, error) in enumerate(zip(trials, errors, strict=True))
    ]


def chosen_settings(recipe: Recipe, out: Path, method: str) -> dict[str, Any]:
    """Return the options that the trials of a method, or of its `like`, decided."""
    trials = recipe.trials(method)
    if len(trials) < 2:
        return trials[0] if trials else {}
    tried = read_trials(recipe, out, recipe.tuned_method(method))
    return next(trial.settings for trial in tried if trial.chosen)


def _error(recipe: Recipe, out: Path, method: str, trial: dict[str, Any]) -> float:
    """Return the mean validation error over the trial's seeds after the last epoch."""
    settings, path = trial_settings(recipe, method, trial), trial_path(out, method, trial)
    errors = []
    for seed in settings.seed_list():
        place = seed_folder(path, seed) if settings.seeds else path
        run = Run(place)
        if not run.finished:
            failure = read_failure(place, to_config(replace(settings, seed=seed, seeds="")))
            assert failure and failure.diverged, f"the trial {place} has no result"
            return inf
        errors.append(float(run.metrics()[-1]["validation_error"]))
    return fmean(errors)
