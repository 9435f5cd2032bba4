"""Run a whole experiment from one recipe: teachers, stores, tuning, methods, comparison."""

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from rdl_cli.commands.compare.compare import Comparison, compare
from rdl_cli.commands.console import log
from rdl_cli.commands.reproduce.jobs import (
    find_job,
    list_commands,
    recipe_jobs,
    require_needs,
    with_chosen_settings,
)
from rdl_cli.commands.reproduce.recipe import Recipe, read_recipe, teacher_path
from rdl_cli.commands.reproduce.status import is_finished, write_job_list
from rdl_cli.commands.reproduce.tuning import Trial, read_trials
from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import Run, seed_folder

# commands that import torch are imported when they run, so that a wrong name is refused at once


@dataclass(frozen=True)
class ExperimentResult:
    """A finished experiment: its comparison after the final epoch and at the best one, its trials.

    The best epoch has the lowest validation error.
    """

    recipe: Recipe
    final: Comparison
    best: Comparison
    tried: tuple[Trial, ...]


@dataclass(frozen=True)
class ExperimentOptions:
    """A recipe and its folder, with the options that change the experiment."""

    recipe: str
    out: Path
    quick: bool = False
    data_root: str = ""
    download: bool = False
    trust: bool = False

    def read(self) -> Recipe:
        flags = {"data_root": self.data_root, "download": self.download, "trust": self.trust}
        return read_recipe(self.recipe, self.out, self.quick, flags)

    def flags(self) -> list[str]:
        """Return the options as they are typed."""
        words = ["--quick"] if self.quick else []
        words += ["--data-root", self.data_root] if self.data_root else []
        words += ["--download"] if self.download else []
        return words + (["--trust"] if self.trust else [])


def reproduce(options: ExperimentOptions, executor: Executor | None = None) -> ExperimentResult:
    """Run the recipe and return its comparison. Started again, it goes on where it stopped.

    `executor` runs the jobs [default: this process, one after another]. UserError for a mistake
    in the recipe, before anything is trained, and for runs that failed.
    """
    from rdl_cli.commands.reproduce.engines import SerialExecutor
    from rdl_cli.commands.reproduce.scheduler import run_jobs

    recipe, out = options.read(), options.out
    jobs = recipe_jobs(recipe, out)
    _check(recipe, out)
    log(f"{recipe.name}: {recipe.title}")
    run_jobs(
        jobs,
        executor or SerialExecutor(),
        write_job_list(out, jobs.values()),
        lambda job: with_chosen_settings(job, recipe, out),
    )
    tried = [trial for method in recipe.methods for trial in read_trials(recipe, out, method)]
    paths = list_compared_paths(recipe, out)
    final, best = (compare(paths, epoch, primary=recipe.primary) for epoch in ("final", "best"))
    return ExperimentResult(recipe, final, best, tuple(tried))


def run_one_job(options: ExperimentOptions, name: str) -> None:
    """Run one job of a recipe, whose needs are finished. UserError where they are not."""
    from rdl_cli.commands.reproduce.engines import SerialExecutor
    from rdl_cli.commands.reproduce.scheduler import run_jobs

    recipe, out = options.read(), options.out
    jobs = recipe_jobs(recipe, out)
    job = find_job(jobs, name)
    if not is_finished(job):
        require_needs(job, jobs)
    complete = replace(with_chosen_settings(job, recipe, out), needs=())
    run_jobs({name: complete}, SerialExecutor(), write_job_list(out, jobs.values()))


def list_run_commands(options: ExperimentOptions) -> list[str]:
    """Return a shell command for each run and store of a recipe, in an order that can be run."""
    jobs = recipe_jobs(options.read(), options.out)
    return list(list_commands(options.recipe, jobs, options.out, options.flags()))


def list_compared_paths(recipe: Recipe, out: Path) -> list[Path]:
    """Return the folders to compare: the methods', and before them the teachers'.

    A teacher is left out if it was tested on other images than the students.
    """
    teachers = [
        teacher_path(section, out)
        for section in recipe.teachers
        if _has_same_test_images(out, recipe, section)
    ]
    return [*teachers, *(out / method for method in recipe.methods)]


def first_seed_path(out: Path, settings: TrainingSettings) -> Path:
    """Return the run of the first seed."""
    return seed_folder(out, settings.seed_list()[0]) if settings.seeds else out


def _check(recipe: Recipe, out: Path) -> None:
    if (out / "results").is_file():
        raise UserError(
            f"{out / 'results'} is a file; the tables and figures need a folder there",
            hint="choose another --out",
        )
    from rdl_cli.commands.reproduce.dry_run import dry_run

    dry_run(recipe, out)


def _has_same_test_images(out: Path, recipe: Recipe, section: str) -> bool:
    method, settings = next(iter(recipe.methods.items()))
    student, teacher = (
        set(Run(path).predictions().digests.tolist())
        for path in (
            first_seed_path(out / method, settings),
            first_seed_path(teacher_path(section, out), recipe.teachers[section]),
        )
    )
    return student == teacher
