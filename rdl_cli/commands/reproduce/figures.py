"""The figures of a finished experiment, each as SVG and PNG."""

from pathlib import Path
from typing import Any

from rdl_cli.commands.drawing_settings import HeatmapSettings, MdsSettings
from rdl_cli.commands.reproduce.recipe import Recipe, teacher_path
from rdl_cli.commands.reproduce.reproduce import first_seed_path
from rdl_cli.runs.run import Run


def draw_figures(recipe: Recipe, out: Path, results: Path) -> list[Path]:
    """Draw the figures into `results` and return their paths.

    Learning curves always, errors against labelled images where their number varies, heatmaps and
    MDS maps where layers are named. Heatmaps and maps (Figs. 1, 3, 4 and 6 of McClure &
    Kriegeskorte 2016) show the first seed of each method. Teachers are drawn last, so that a
    method has the same colour in maps and curves.
    """
    from rdl_cli.commands.plot.plot import plot_curves, plot_labels, plot_mds, plot_rdms

    written: list[Path] = []

    def svg_and_png(name: str) -> list[Path]:
        paths = [results / f"{name}.svg", results / f"{name}.png"]
        written.extend(paths)
        return paths

    models = recipe.figures.methods or [*recipe.methods, *recipe.teachers]
    methods = [out / model for model in models if model not in recipe.teachers]
    teachers = [teacher_path(model, out) for model in models if model in recipe.teachers]
    plot_curves(methods or teachers, svg_and_png("curves"))
    if len({settings.train_size for settings in recipe.methods.values()}) > 1:
        plot_labels([out / method for method in recipe.methods], svg_and_png("labels"))
    stores = [store.settings.layers for store in recipe.stores.values()]
    layers = recipe.figures.layers or (stores[0] if stores else [])
    if not layers:
        return written
    runs = [_first_run(recipe, model, out) for model in models]
    student = next(iter(recipe.methods.values()))
    images: dict[str, Any] = {
        name: getattr(student, name)
        for name in ("dataset", "data_root", "image_size", "device", "trust")
    }
    plot_rdms(
        runs,
        svg_and_png("rdms"),
        HeatmapSettings(layers=layers, per_class=recipe.figures.per_class, **images),
    )
    size = min(100, len(Run(runs[-1]).predictions().labels))
    for distance in ("correlation", "normalised"):
        settings = MdsSettings(layers=layers, rdm_distance=distance, sample_size=size, **images)
        plot_mds(runs, svg_and_png(f"map-{distance}"), settings)
    return written


def _first_run(recipe: Recipe, model: str, out: Path) -> Path:
    if model in recipe.teachers:
        return first_seed_path(teacher_path(model, out), recipe.teachers[model])
    return first_seed_path(out / model, recipe.methods[model])
