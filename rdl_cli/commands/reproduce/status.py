"""The state of every run of an experiment, read from its folder alone."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rdl_cli.commands.reproduce.claims import find_claim
from rdl_cli.commands.reproduce.jobs import Job
from rdl_cli.commands.reproduce.outcomes import read_failure
from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import make_folder, write_text
from rdl_cli.runs.run import Run

JOB_LIST = "jobs.json"


@dataclass(frozen=True)
class JobState:
    """The state of one run or store. `epochs` are those finished, of `n_epochs`; 0 of a store."""

    name: str
    state: Literal["done", "running", "failed", "waiting"]
    epochs: int = 0
    n_epochs: int = 0
    note: str = ""


@dataclass(frozen=True)
class ExperimentSummary:
    """All runs and stores of an experiment's folder."""

    path: str
    jobs: tuple[JobState, ...]
    kind: str = field(default="experiment", init=False)


def is_finished(job: Job) -> bool:
    """Return True if the run has its predictions, or the store exists."""
    if isinstance(job.settings, TrainingSettings):
        return Run(job.path).finished
    return job.path.is_file()


def planned_epochs(job: Job) -> int:
    """Return the epochs of a run, 0 for a store and where only the steps are given."""
    settings = job.settings
    return (
        settings.epochs if isinstance(settings, TrainingSettings) and not settings.max_steps else 0
    )


def write_job_list(out: Path, jobs: Iterable[Job]) -> Path:
    """Write OUT/jobs.json, so that `rdl show OUT` needs no recipe. Return its path."""
    records = [
        {
            "name": job.name,
            "needs": list(job.needs),
            "epochs": planned_epochs(job),
            "kind": "run" if isinstance(job.settings, TrainingSettings) else "store",
        }
        for job in jobs
    ]
    text = json.dumps(records, indent=1) + "\n"
    path = out / JOB_LIST
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return path
    make_folder(out)
    write_text(path, text)
    return path


def list_job_states(out: Path) -> list[JobState]:
    """Return the state of every job of an experiment: done, running, failed or waiting.

    UserError where `out` is not the folder of `rdl reproduce`, or its jobs.json is damaged.
    """
    path = out / JOB_LIST
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return [
            _state(out / record["name"], record["name"], record["kind"], record["epochs"])
            for record in records
        ]
    except FileNotFoundError:
        raise UserError(f"{out} holds no experiment: it has no {JOB_LIST}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged: {error}", hint="run the experiment's command again"
        ) from error


def count_epochs(path: Path) -> int:
    """Return the finished epochs of a run, without a check of the table."""
    try:
        with (path / "metrics.csv").open("rb") as file:
            return max(0, sum(1 for _ in file) - 1)
    except OSError:
        return 0


def _state(path: Path, name: str, kind: str, n_epochs: int) -> JobState:
    epochs = count_epochs(path) if kind == "run" else 0
    if (path / "predictions.h5" if kind == "run" else path).is_file():
        return JobState(name, "done", epochs, n_epochs)
    if held := find_claim(path):
        return JobState(name, "running", epochs, n_epochs, held.describe())
    if failure := read_failure(path):
        note = f"diverged: {failure.message}" if failure.diverged else failure.message
        return JobState(name, "failed", epochs, n_epochs, note)
    note = "interrupted" if epochs else ""
    return JobState(name, "waiting", epochs, n_epochs, note)
