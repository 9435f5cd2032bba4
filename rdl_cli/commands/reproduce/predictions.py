"""Write the predicted classes of an experiment's finished runs: OUT/results/predictions.npz."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdl_cli.commands.reproduce.jobs import recipe_jobs
from rdl_cli.commands.reproduce.recipe import Recipe
from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import atomic_write, make_folder
from rdl_cli.runs.grouping import find_teacher, seed_draws_data
from rdl_cli.runs.prediction_table import PredictionTable, format_tables
from rdl_cli.runs.predictions import EPOCHS, Predictions
from rdl_cli.runs.run import Run

FILE_NAME = "predictions.npz"


@dataclass(frozen=True)
class _TestedRun:
    method: str
    run: Run
    predictions: dict[str, Predictions]


def write_predictions(recipe: Recipe, out: Path) -> Path:
    """Write OUT/results/predictions.npz of the finished runs, tuning runs excepted.

    Raises:
        UserError: no run is finished.
    """
    groups: list[list[_TestedRun]] = []
    for job in recipe_jobs(recipe, out).values():
        run = Run(job.path)
        if not isinstance(job.settings, TrainingSettings) or job.may_diverge or not run.finished:
            continue
        tested = _TestedRun(job.method, run, {epoch: run.predictions(epoch) for epoch in EPOCHS})
        for group in groups:
            if _same_images(group[0], tested):
                group.append(tested)
                break
        else:
            groups.append([tested])
    if not groups:
        raise UserError(f"no run in {out} is finished", hint="run the recipe first")
    path = out / "results" / FILE_NAME
    make_folder(path.parent)
    atomic_write(path, format_tables([_to_table(group) for group in groups]))
    return path


def _same_images(one: _TestedRun, other: _TestedRun) -> bool:
    first, second = one.predictions["final"], other.predictions["final"]
    return np.array_equal(first.digests, second.digests) and np.array_equal(
        first.labels, second.labels
    )


def _to_table(group: list[_TestedRun]) -> PredictionTable:
    first = group[0].predictions["final"]
    return PredictionTable(
        digests=first.digests,
        labels=first.labels,
        methods=tuple(tested.method for tested in group),
        seeds=tuple(tested.run.seed for tested in group),
        teachers=tuple(Path(find_teacher(tested.run) or "").name for tested in group),
        draws_data=tuple(seed_draws_data(tested.run) for tested in group),
        processors=tuple(str(tested.run.provenance.get("processor") or "") for tested in group),
        predicted={
            epoch: np.stack([tested.predictions[epoch].predicted for tested in group])
            for epoch in EPOCHS
        },
    )
