"""A whole experiment from one recipe: teacher, store, every method over its seeds, comparison, figures. Stops and goes on anywhere."""

from dataclasses import dataclass, replace
from hashlib import sha256
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rdl_cli.commands.compare.compare import Comparison, compare
from rdl_cli.commands.console import log
from rdl_cli.commands.reproduce.recipe import Recipe, read_recipe
from rdl_cli.commands.settings import (
    HeatmapSettings,
    MdsSettings,
    StudentSettings,
    TrainingSettings,
)
from rdl_cli.core.errors import Diverged, UserError
from rdl_cli.runs.run import Run

LONGEST_NAME = 200
"""Bytes of a folder's name; file systems end at 255."""

# jobs that bring torch along are imported when they are run, so that a wrong word is answered at once


class Trial(NamedTuple):
    """A setting that was tried, its error on validation images after the last epoch (infinite: diverged), and whether it is the lowest."""

    method: str
    settings: dict[str, Any]
    error: float
    chosen: bool


@dataclass(frozen=True)
class ExperimentResult:
    """A recipe run to its end: compared with the weights of the final epoch, and of the best on validation; and what was tried before."""

    recipe: Recipe
    final: Comparison
    best: Comparison
    tried: tuple[Trial, ...]


def reproduce(
    name: str, out: Path, quick: bool = False, data_root: str = "", download: bool = False
) -> ExperimentResult:
    """The recipe and its comparison, everything between made or found below `out`. UserError for a bad recipe, before training.

    `name` is a recipe that comes with rdl, or a file. Started again after a kill, it goes on where it stopped.
    """
    recipe = read_recipe(name, out, quick, {"data_root": data_root, "download": download})
    from rdl_cli.commands.export_rdms.export_rdms import export_rdms
    from rdl_cli.commands.reproduce.dry_run import dry_run
    from rdl_cli.commands.train.train import train

    log(f"{recipe.name}: {recipe.title}")
    dry_run(recipe, out)
    if recipe.teacher:
        train(out / "teacher", recipe.teacher, resume=True)
    if recipe.store:
        export_rdms(out / "teacher", out / "store.h5", recipe.store)
    tried: list[Trial] = []
    chosen: dict[str, dict[str, Any]] = {}
    for method, settings in recipe.methods.items():
        trials = recipe.tune[method]
        if isinstance(trials, str):
            chosen[method] = chosen[trials]
        else:
            tried += (
                mine := _run_trials(
                    method, trials, settings, recipe.tuning, out / "tuning" / method
                )
            )
            chosen[method] = next(
                (each.settings for each in mine if each.chosen), trials[0] if trials else {}
            )
        train(out / method, replace(settings, **chosen[method]), resume=True)
    teacher = [out / "teacher"] if recipe.teacher and _same_pictures(out, recipe) else []
    runs = [*teacher, *(out / method for method in recipe.methods)]
    return ExperimentResult(recipe, compare(runs), compare(runs, "best"), tuple(tried))


def draw_figures(recipe: Recipe, out: Path, results: Path) -> list[Path]:
    """The figures of a recipe that was run below `out`, each as SVG and PNG.

    Curves always, errors over labelled images where their number varies, and where layers are named heatmaps and maps.
    Heatmaps and maps (Figs. 1, 3, 4 and 6 of McClure & Kriegeskorte 2016) show each method's first seed. The teacher comes last, so
    that a method has one colour in maps and curves.
    """
    from rdl_cli.commands.plot.plot import plot_curves, plot_labels, plot_mds, plot_rdms

    written: list[Path] = []

    def both(name: str) -> list[Path]:
        written.extend(paths := [results / f"{name}.svg", results / f"{name}.png"])
        return paths

    methods = recipe.figures.methods or [*recipe.methods, *(["teacher"] if recipe.teacher else [])]
    plot_curves(
        [out / method for method in methods if method != "teacher"] or [out / "teacher"],
        both("curves"),
    )
    if len({settings.train_size for settings in recipe.methods.values()}) > 1:
        plot_labels([out / method for method in recipe.methods], both("labels"))
    layers = recipe.figures.layers or (recipe.store.layers if recipe.store else [])
    if layers:
        first = [
            _first(out / method, recipe.methods.get(method, recipe.teacher)) for method in methods
        ]
        student = next(iter(recipe.methods.values()))
        shown: dict[str, Any] = {
            "dataset": student.dataset,
            "data_root": student.data_root,
            "image_size": student.image_size,
            "device": student.device,
        }
        plot_rdms(
            first,
            both("rdms"),
            HeatmapSettings(layers=layers, per_class=recipe.figures.per_class, **shown),
        )
        size = min(100, len(Run(first[-1]).predictions().labels))
        for between in ("correlation", "normalised"):
            plot_mds(
                first,
                both(f"map-{between}"),
                MdsSettings(layers=layers, rdm_distance=between, sample_size=size, **shown),
            )
    return written


def _run_trials(
    method: str,
    trials: list[dict[str, Any]],
    settings: StudentSettings,
    tuning: dict[str, Any],
    out: Path,
) -> list[Trial]:
    """The trials with what came of them on validation images; their runs are kept below `out`. One trial is no choice, and is not run.

    A trial that diverged has an infinite error. UserError where all did.
    """
    from rdl_cli.commands.train.train import train

    if len(trials) < 2:
        return []
    errors = []
    for trial in trials:
        place = out / _folder(trial)
        try:
            runs = train(place, replace(settings, **{"seeds": ""} | tuning | trial), resume=True)
        except Diverged as diverged:
            errors.append(inf)
            log(f"tuning {method}: {trial} diverged: {diverged}")
            continue
        errors.append(fmean(float(run.metrics()[-1]["validation_error"]) for run in runs))
        log(f"tuning {method}: {trial} has validation error {100 * errors[-1]:.2f} %")
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


def _folder(trial: dict[str, Any]) -> str:
    """What the folder of a trial is called: its settings, or their digest where they are too long for a name."""
    name = ",".join(f"{key}={value}" for key, value in trial.items()).replace("/", "_")
    return name if len(name.encode()) <= LONGEST_NAME else sha256(name.encode()).hexdigest()[:16]


def _first(out: Path, settings: TrainingSettings | None) -> Path:
    """The run of the first seed."""
    return out / f"seed{settings.seed_list()[0]}" if settings and settings.seeds else out


def _same_pictures(out: Path, recipe: Recipe) -> bool:
    """Whether the teacher was tested on the pictures that the students are tested on."""
    method, settings = next(iter(recipe.methods.items()))
    runs = _first(out / method, settings), _first(out / "teacher", recipe.teacher)
    mine, theirs = (set(Run(path).predictions().digests.tolist()) for path in runs)
    return mine == theirs
