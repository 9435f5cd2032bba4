"""Plot figures to files: RDM heatmaps, MDS maps, learning curves, label efficiency."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from rdl_cli.commands.activation_reader import ReaderCache
from rdl_cli.commands.console import log, progress
from rdl_cli.commands.drawing_settings import HeatmapSettings, MdsSettings
from rdl_cli.commands.image_data import to_pixels
from rdl_cli.commands.plot.output import check_output, read_style, save_figure
from rdl_cli.commands.plot.plot_data import (
    LayerSelection,
    NamedRdm,
    SourceRdms,
    compute_rdm,
    read_run_rdms,
    read_store_rdms,
)
from rdl_cli.commands.style_settings import StyleSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Reps
from rdl_cli.datasets.base import Split
from rdl_cli.figures.label_efficiency import Line, draw_label_efficiency
from rdl_cli.figures.learning_curves import Curve, draw_learning_curves
from rdl_cli.figures.mds_map import LayerPath, draw_mds_map
from rdl_cli.figures.rdm_heatmap import Panel, Row, draw_heatmaps
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.mds import RDM_DISTANCES, draw_samples, mds, mean_distances, procrustes_align
from rdl_cli.runs.grouping import group_by_method
from rdl_cli.runs.run import Run, find_runs

DEFAULT_STYLE = StyleSettings()
HIGH_STRESS = 0.15
"""Kruskal (1964) calls .1 fair and .2 poor."""

DISTANCE_WORDS = {
    "euclidean": "Euclidean distance",
    "sqeuclidean": "squared Euclidean distance",
    "mse": "mean squared difference",
    "correlation": "correlation distance (1 − r)",
    "cosine": "cosine distance",
    "": "distance",
}
RDM_DISTANCE_WORDS = {
    "correlation": "1 − Pearson r",
    "normalised": "normalised Euclidean distance",
    "standardised": "standardised Euclidean distance",
}


def plot_rdms(sources: Sequence[Path], out: Sequence[Path], settings: HeatmapSettings) -> Figure:
    """Plot the RDMs of the sources' layers, sorted by class, a row for each run or store.

    Of a method with several seeds the first is drawn. Pixels and labels are drawn beside the rows
    if all sources have the same images.

    Args:
        sources: runs, folders of runs, stores.
        out: the files to write.
        settings: layers, images and shades.

    Raises:
        UserError: for bad input, before anything is written.
    """
    check_output(out, settings)
    style = read_style(settings)
    selection, open_reader = LayerSelection(settings.layers), ReaderCache(settings)
    rdms = [read_store_rdms(path, settings, selection) for path in sources if path.is_file()]
    folders = [path for path in sources if not path.is_file()]
    by_method = group_by_method(find_runs(folders)) if folders else {}
    for name, runs in by_method.items():
        if len(runs) > 1:
            log(f"{name}: seed {runs[0].seed} is drawn, the first of {len(runs)}")
        rdms.append(read_run_rdms(name, open_reader(runs[0]), settings, selection))
    selection.check()
    n = " or ".join(str(n) for n in dict.fromkeys(len(source.digests) for source in rdms))
    seeds = _describe_seeds([runs[0] for runs in by_method.values()])
    note = ". ".join(filter(None, (f"{n} stimuli", seeds)))
    rows = [
        Row(
            source.name if len(rdms) > 1 else "",
            tuple(_to_panel(layer, source) for layer in source.layers),
        )
        for source in rdms
    ]
    pixels = labels = None
    if all(np.array_equal(source.digests, rdms[0].digests) for source in rdms):
        with_images = next((source for source in rdms if source.images is not None), None)
        if with_images and with_images.images is not None:
            values = compute_rdm("pixels", to_pixels(with_images.images), settings.distance)
            pixels = _to_panel(values, with_images)
        labels = _to_label_panel(rdms[-1].classes)
    return save_figure(draw_heatmaps(rows, pixels, labels, settings.scale, note, style=style), out)


def _to_panel(layer: NamedRdm, source: SourceRdms) -> Panel:
    distance = DISTANCE_WORDS.get(layer.distance, layer.distance)
    return Panel(layer.name, layer.values, source.classes, distance)


def _to_label_panel(classes: tuple[str, ...]) -> Panel | None:
    """Return the RDM that is 0 within a class and 1 between; exactly equal, as ranks need it."""
    if not classes:
        return None
    i, j = np.triu_indices(len(classes), 1)
    different = np.array(classes)[i] != np.array(classes)[j]
    return Panel("labels", different.astype(float), classes, "")


def plot_mds(sources: Sequence[Path], out: Sequence[Path], settings: MdsSettings) -> Figure:
    """Plot the layers of all runs as points, beside pixels and labels.

    Points are as far apart as their RDMs, averaged over samples of images that are the same for
    all. Seeds of one method share a style.

    Args:
        sources: runs and folders of runs.
        out: the files to write.
        settings: layers, images and distances.

    Raises:
        UserError: for bad input, before anything is written.
    """
    check_output(out, settings)
    style = read_style(settings)
    rdm_distance = RDM_DISTANCES.find(settings.rdm_distance)
    distance = DISTANCES.find(settings.distance)
    by_method = group_by_method(find_runs(sources))
    runs = [run for seeds in by_method.values() for run in seeds]
    open_reader = ReaderCache(settings)
    split = open_reader(runs[0]).split
    samples = draw_samples(
        len(split),
        Seeds(settings.seed)("samples"),
        samples=settings.samples,
        size=settings.sample_size,
        replace=settings.replace,
    )
    sampled = torch.cat(samples).unique()
    selection = LayerSelection(settings.layers)
    layers: dict[Path, tuple[str, ...]] = {}

    def read_representations() -> Iterator[Reps]:
        yield to_pixels(split.read(sampled))
        yield torch.nn.functional.one_hot(split.labels[sampled]).double()
        with progress(len(runs), "reading") as bar:
            for run in runs:
                reader = open_reader(run)
                _check_same_images(runs[0], split, run, reader.split)
                layers[run.path] = selection.select(reader.shapes, run.path)
                yield from reader.read(layers[run.path], sampled).values()
                bar.advance()

    rows = [torch.searchsorted(sampled, sample) for sample in samples]
    distances = mean_distances(read_representations(), distance, rdm_distance, rows)
    selection.check()
    points, stress = mds(distances)
    points = procrustes_align(points, _pixels_to_labels(len(points)))
    n_layers = [len(layers[run.path]) for run in runs]
    run_points = iter(points[2:].split(n_layers))
    paths = [
        LayerPath(
            name,
            layers[seeds[0].path],
            torch.stack([next(run_points) for _ in seeds]).numpy(),
        )
        for name, seeds in by_method.items()
    ]
    landmarks = {"pixels": points[0].numpy(), "labels": points[1].numpy()}
    between = RDM_DISTANCE_WORDS.get(settings.rdm_distance, settings.rdm_distance)
    within = DISTANCE_WORDS.get(settings.distance, settings.distance)
    caption = (
        f"{between} between RDMs ({within}), {settings.samples} samples of"
        f" {settings.sample_size} {settings.split} images. Stress-1 {stress:.2f}"
    )
    if stress > HIGH_STRESS:
        warning = f"above {HIGH_STRESS} a map distorts distances"
        caption += f" ({warning})"
        log(f"note: stress-1 is {stress:.2f}; {warning}: look at the RDMs too (rdl plot rdm)")
    if len(runs) == len(by_method):
        caption += f". {_describe_seeds(runs)}"
    return save_figure(draw_mds_map(paths, landmarks, caption, style=style), out)


def _pixels_to_labels(count: int) -> torch.Tensor:
    """Return the reference of every map's orientation.

    Pixels are left and labels right on one line; the networks are above it, too light to tilt it.
    """
    return torch.tensor([(-1e3, 0.0), (1e3, 0.0)] + [(0.0, 1.0)] * (count - 2), dtype=torch.float64)


def _describe_seeds(runs: Sequence[Run]) -> str:
    """Return the seeds of the runs in words; empty if there is no run."""
    seeds = list(dict.fromkeys(run.seed for run in runs))
    return f"Seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else ""


def _check_same_images(first: Run, split: Split, run: Run, other: Split) -> None:
    if split is not other and not np.array_equal(split.digests, other.digests):
        raise UserError(
            f"{first.path} and {run.path} were trained on different images:"
            f" {first.config.get('dataset')}, {run.config.get('dataset')}",
            hint="pass --dataset, the images for all of them",
        )


def plot_curves(
    sources: Sequence[Path], out: Sequence[Path], settings: StyleSettings = DEFAULT_STYLE
) -> Figure:
    """Plot training and validation error of the runs at or below `sources`, by method."""
    check_output(out)
    style = read_style(settings)
    by_method = group_by_method(find_runs(sources))
    curves = [_read_curve(name, runs) for name, runs in by_method.items()]
    return save_figure(draw_learning_curves(curves, style=style), out)


def _read_curve(name: str, runs: Sequence[Run]) -> Curve:
    tables = [run.metrics() for run in runs]
    for run, rows in zip(runs, tables, strict=True):
        if not rows:
            raise UserError(
                f"the run {run.path} has no epochs: its metrics.csv is missing or empty",
                hint="leave it out",
            )
        if len(rows) != len(tables[0]):
            raise UserError(
                f"{runs[0].path} has {len(tables[0])} epochs and {run.path} has {len(rows)}, but"
                f" both are called {name}",
                hint="give them different labels (--label) when they are trained",
            )
    try:
        training, validation = (
            np.array([[float(row[column]) for row in rows] for rows in tables])
            for column in ("train_error", "validation_error")
        )
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"metrics.csv of {name} is damaged: {error}",
            hint=f"look at {runs[0].path / 'metrics.csv'}",
        ) from error
    return Curve(name, training, validation)


def plot_labels(
    sources: Sequence[Path], out: Sequence[Path], settings: StyleSettings = DEFAULT_STYLE
) -> Figure:
    """Plot test error (final epoch) over the number of labelled images.

    Runs whose names differ only in this number (`rdl-100`, `rdl-300`, `rdl-all`) are one method.
    """
    check_output(out)
    style = read_style(settings)
    errors: dict[str, dict[int, list[float]]] = {}
    for name, runs in group_by_method(find_runs(sources)).items():
        for run in runs:
            if (count := run.config.get("train_size")) is None:
                raise UserError(
                    f"{run.path} has no --train-size, so its number of labels is not known",
                    hint="train it with --train-size N, N being all that there are",
                )
            method = errors.setdefault(re.sub(rf"(?<=.)-({count}|all)$", "", name), {})
            predictions = run.predictions()
            error = float((predictions.predicted != predictions.labels).mean())
            method.setdefault(int(count), []).append(error)
    lines = [
        Line(name, {count: np.array(points[count]) for count in sorted(points)})
        for name, points in errors.items()
    ]
    return save_figure(draw_label_efficiency(lines, style=style), out)
