"""The jobs of a recipe as a graph: teachers, stores, tuning runs, then the methods' seeds."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rdl_cli.commands.reproduce.recipe import Recipe, store_path, teacher_path
from rdl_cli.commands.reproduce.tuning import chosen_settings, trial_path, trial_settings
from rdl_cli.commands.settings import ExportSettings, StudentSettings, TrainingSettings
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.runs.run import seed_folder


@dataclass(frozen=True)
class Job:
    """One run or store to make. `name` is its path below OUT; `needs` are names of other jobs.

    `source` is the teacher's run of a store. `tuned` is True for a run whose settings are complete
    only after its method's trials. `may_diverge` is True for a trial, for which it is a result.
    `recipe` is the file that the names in the settings come from, "" if they were typed.
    """

    name: str
    path: Path
    settings: TrainingSettings | ExportSettings
    needs: tuple[str, ...] = ()
    method: str = ""
    source: Path | None = None
    tuned: bool = False
    may_diverge: bool = False
    recipe: str = ""


def seed_jobs(out: Path, settings: TrainingSettings, needs: tuple[str, ...] = ()) -> list[Job]:
    """Return one job for each seed, named `seedN`, or the one job of a single run."""
    if not settings.seeds:
        return [Job(out.name, out, settings, needs)]
    return [
        Job(
            seed_folder(out, seed).name,
            seed_folder(out, seed),
            replace(settings, seed=seed, seeds=""),
            needs,
        )
        for seed in settings.seed_list()
    ]


def recipe_jobs(recipe: Recipe, out: Path) -> dict[str, Job]:
    """Return all jobs of a recipe by name; those that a job needs come before it."""
    jobs: dict[str, Job] = {}

    def add(section_or_method: str, path: Path, settings: TrainingSettings, **more: object) -> None:
        base = str(path.relative_to(out))
        for job in seed_jobs(path, settings):
            name = base if job.path == path else f"{base}/{job.path.name}"
            jobs[name] = replace(job, name=name, method=section_or_method, **more)  # type: ignore[arg-type]

    for section, settings in recipe.teachers.items():
        add(section, teacher_path(section, out), settings)
    for section, store in recipe.stores.items():
        path, source = store_path(section, out), teacher_path(store.teacher, out)
        name = str(path.relative_to(out))
        needs = _below(jobs, source, out)
        jobs[name] = Job(name, path, store.settings, needs, section, source)
    for method in recipe.methods:
        if recipe.tuned_method(method) == method and len(recipe.trials(method)) > 1:
            for trial in recipe.trials(method):
                settings = trial_settings(recipe, method, trial)
                path, needs = trial_path(out, method, trial), _needs(jobs, out, settings)
                add(method, path, settings, needs=needs, may_diverge=True)
    for method, settings in recipe.methods.items():
        variants = [replace(settings, **trial) for trial in recipe.trials(method)] or [settings]
        tuning = out / "tuning" / recipe.tuned_method(method)
        needs = _needs(jobs, out, *variants) + _below(jobs, tuning, out)
        add(method, out / method, settings, needs=needs, tuned=True)
    return {name: replace(job, recipe=f"the recipe {recipe.name}") for name, job in jobs.items()}


def _needs(jobs: dict[str, Job], out: Path, *settings: StudentSettings) -> tuple[str, ...]:
    """Return the jobs that make the targets and first weights of students."""
    paths = dict.fromkeys(path for student in settings for path in (student.targets, student.init))
    return tuple(need for path in paths if path for need in _below(jobs, Path(path), out))


def _below(jobs: dict[str, Job], path: Path, out: Path) -> tuple[str, ...]:
    """Return the jobs that make `path`, or files and runs below it."""
    if not path.is_relative_to(out):
        return ()
    name = str(path.relative_to(out))
    return tuple(job for job in jobs if job == name or job.startswith(f"{name}/"))


def with_chosen_settings(job: Job, recipe: Recipe | None, out: Path) -> Job:
    """Return the job with the settings that its trials chose. UserError if all diverged."""
    if recipe is None or not job.tuned or not isinstance(job.settings, TrainingSettings):
        return job
    chosen = chosen_settings(recipe, out, job.method)
    return replace(job, settings=replace(job.settings, **chosen), tuned=False)


def list_commands(recipe: str, jobs: dict[str, Job], out: Path, flags: list[str]) -> Iterator[str]:
    """Yield one shell command for each job, with the names of the jobs that it needs."""
    for job in jobs.values():
        words = ["rdl", "reproduce", recipe, "--out", str(out), *flags, "--run", job.name]
        needs = f"  # needs {', '.join(job.needs)}" if job.needs else ""
        yield shlex.join(words) + needs


def find_job(jobs: dict[str, Job], name: str) -> Job:
    """Return the job of a name. UserError for an unknown one."""
    if name not in jobs:
        raise unknown_name("run in this recipe", name, jobs)
    return jobs[name]


def require_needs(job: Job, jobs: dict[str, Job]) -> None:
    """Raise UserError if a job that this one needs is not finished."""
    from rdl_cli.commands.reproduce.status import is_finished

    waiting = [name for name in job.needs if not is_finished(jobs[name])]
    if waiting:
        raise UserError(
            f"{job.name} needs {', '.join(waiting)}, which {'is' if len(waiting) == 1 else 'are'} "
            "not finished",
            hint="run those first; --list shows the order",
        )
