"""Figures on disk: RDMs as pictures, networks as paths through the plane, errors through training."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from rdl_cli.commands.activation_reader import ReaderCache
from rdl_cli.commands.console import log, progress
from rdl_cli.commands.image_data import to_pixels
from rdl_cli.commands.plot.plot_data import (
    DrawnRdm,
    DrawnSource,
    LayerSelection,
    compute_rdm,
    rdms_of_run,
    rdms_of_store,
)
from rdl_cli.commands.settings import DrawingSettings, HeatmapSettings, MdsSettings
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.files import atomic_write
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Reps
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.loader import image_digests
from rdl_cli.figures.label_efficiency import Line, draw_label_efficiency
from rdl_cli.figures.learning_curves import Curve, draw_learning_curves
from rdl_cli.figures.mds_map import LayerPath, draw_mds_map
from rdl_cli.figures.rdm_heatmap import Panel, Row, draw_heatmaps
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.mds import RDM_DISTANCES, draw_samples, mds, mean_distances, procrustes_align
from rdl_cli.runs.grouping import group_by_method
from rdl_cli.runs.run import Run, find_runs

FORMATS: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None},
    ".png": {},
    ".pdf": {"CreationDate": None},
}
"""What a figure can be written as, and what keeps a rerun's bytes equal: no date."""

EMBEDDED = re.compile(r"(data:image/png;base64,\s*)([A-Za-z0-9+/=\s]+)")

SAID = {
    "euclidean": "Euclidean distance",
    "sqeuclidean": "squared Euclidean distance",
    "mse": "mean squared difference",
    "correlation": "correlation distance (1 − r)",
    "cosine": "cosine distance",
    "": "distance",
}
SAID_BETWEEN = {
    "correlation": "1 − Pearson r",
    "normalised": "normalised Euclidean distance",
    "standardised": "standardised Euclidean distance",
}


def plot_rdms(sources: Sequence[Path], out: Sequence[Path], settings: HeatmapSettings) -> Figure:
    """The RDMs of the sources' layers, sorted by class, written to every path of `out`; a row for each run or store.

    Of a method that was trained with several seeds the first is drawn. Pixels and labels are drawn beside them where all
    sources show the same pictures. UserError for bad input, before anything is written.
    """
    check_output(out, settings)
    wanted, opened = LayerSelection(settings.layers), ReaderCache(settings)
    shown = [rdms_of_store(path, settings, wanted) for path in sources if path.is_file()]
    folders = [path for path in sources if not path.is_file()]
    by_method = group_by_method(find_runs(folders)) if folders else {}
    for name, runs in by_method.items():
        if len(runs) > 1:
            log(f"{name}: drawn is seed {runs[0].seed}, the first of {len(runs)}")
        shown.append(rdms_of_run(name, opened(runs[0]), settings, wanted))
    wanted.check()
    about = _seeds([runs[0] for runs in by_method.values()])
    rows = [
        Row(
            each.name if len(shown) > 1 else "", tuple(_panel(layer, each) for layer in each.layers)
        )
        for each in shown
    ]
    if not all(np.array_equal(each.digests, shown[0].digests) for each in shown):
        return save_figure(draw_heatmaps(rows, scale=settings.scale, about=about), out)
    seen = next((each for each in shown if each.images is not None), None)
    before = (
        _panel(compute_rdm("pixels", to_pixels(seen.images), settings.distance), seen)
        if seen and seen.images is not None
        else None
    )
    return save_figure(
        draw_heatmaps(rows, before, _labels(shown[-1].classes), settings.scale, about), out
    )


def _panel(layer: DrawnRdm, source: DrawnSource) -> Panel:
    return Panel(layer.name, layer.values, source.classes, SAID.get(layer.distance, layer.distance))


def _labels(classes: tuple[str, ...]) -> Panel | None:
    """0 within a class and 1 between: equal to the last bit, as ranks need it."""
    i, j = np.triu_indices(len(classes), 1)
    return (
        Panel("labels", (np.array(classes)[i] != np.array(classes)[j]).astype(float), classes, "")
        if classes
        else None
    )


def plot_mds(sources: Sequence[Path], out: Sequence[Path], settings: MdsSettings) -> Figure:
    """The layers of all runs at or below `sources` as points, beside pixels and labels, written to every path of `out`.

    Points are as far apart as their RDMs are, on average over samples of pictures, which are the same for all. Seeds of one
    method share a look. UserError for bad input, before anything is written.
    """
    check_output(out, settings)
    between, distance = RDM_DISTANCES.find(settings.rdm_distance), DISTANCES.find(settings.distance)
    by_method = group_by_method(find_runs(sources))
    runs = [run for several in by_method.values() for run in several]
    opened = ReaderCache(settings)
    first = opened(runs[0]).split
    samples = draw_samples(
        len(first),
        Seeds(settings.seed)("samples"),
        samples=settings.samples,
        size=settings.sample_size,
        replace=settings.replace,
    )
    used = torch.cat(samples).unique()
    wanted = LayerSelection(settings.layers)
    layers: dict[Path, tuple[str, ...]] = {}

    def representations() -> Iterator[Reps]:
        yield to_pixels(first.read(used))
        yield torch.nn.functional.one_hot(first.labels[used]).double()
        with progress(len(runs), "reading") as ticker:
            for run in runs:
                teacher = opened(run)
                _check_same(runs[0], first, run, teacher.split)
                layers[run.path] = wanted.of(list(teacher.shapes), run.path)
                yield from teacher.read(layers[run.path], used).values()
                ticker.advance()

    far = mean_distances(
        representations(), distance, between, [torch.searchsorted(used, rows) for rows in samples]
    )
    wanted.check()
    points, stress = mds(far)
    points = procrustes_align(points, _pixels_to_labels(len(points)))
    ways = [(name, layers[several[0].path], len(several)) for name, several in by_method.items()]
    places = iter(points[2:].split([len(own) for _, own, seeds in ways for _ in range(seeds)]))
    tracks = [
        LayerPath(name, own, torch.stack([next(places) for _ in range(seeds)]).numpy())
        for name, own, seeds in ways
    ]
    landmarks = {"pixels": points[0].numpy(), "labels": points[1].numpy()}
    how = (
        SAID_BETWEEN.get(settings.rdm_distance, settings.rdm_distance),
        SAID.get(settings.distance, settings.distance),
    )
    said = f"{how[0]} between RDMs ({how[1]}), {settings.samples} samples of {settings.sample_size} {settings.split} images. Stress-1 {stress:.2f}"
    said += "" if len(runs) > len(ways) else f". {_seeds(runs)}"
    return save_figure(draw_mds_map(tracks, landmarks, said), out)


def _pixels_to_labels(count: int) -> torch.Tensor:
    """What every map is turned onto: pixels left and labels right on one line, the networks above it, too light to tilt it."""
    return torch.tensor([(-1e3, 0.0), (1e3, 0.0)] + [(0.0, 1.0)] * (count - 2), dtype=torch.float64)


def _seeds(runs: Sequence[Run]) -> str:
    """Which of its seeds each network is of, in words; nothing where there is no network."""
    seeds = list(dict.fromkeys(run.seed for run in runs))
    return f"Seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else ""


def _check_same(one: Run, mine: Split, other: Run, theirs: Split) -> None:
    if mine is not theirs and not np.array_equal(
        image_digests(mine.images), image_digests(theirs.images)
    ):
        fact = f"{one.path} and {other.path} were trained on different pictures: {one.config.get('dataset')}, {other.config.get('dataset')}"
        raise UserError(fact, hint="say which to show to all: --dataset")


def plot_curves(sources: Sequence[Path], out: Sequence[Path]) -> Figure:
    """Training and validation error of the runs at or below `sources`, by method, written to every path of `out`."""
    check_output(out)
    return save_figure(
        draw_learning_curves(
            [_curve(name, runs) for name, runs in group_by_method(find_runs(sources)).items()]
        ),
        out,
    )


def _curve(name: str, runs: Sequence[Run]) -> Curve:
    tables = [run.metrics() for run in runs]
    for run, rows in zip(runs, tables, strict=True):
        if not rows:
            raise UserError(
                f"the run {run.path} has no epochs: its metrics.csv is missing or empty",
                hint="leave it out",
            )
        if len(rows) != len(tables[0]):
            fact = f"{runs[0].path} has {len(tables[0])} epochs and {run.path} has {len(rows)}, but both are called {name}"
            raise UserError(fact, hint="give them different labels (--label) when they are trained")
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


def plot_labels(sources: Sequence[Path], out: Sequence[Path]) -> Figure:
    """Test error (final epoch) over the number of labelled images, written to every path of `out`.

    Runs whose names differ only in their number of labels (`rdl-100`, `rdl-300`, `rdl-all`) are one method.
    """
    check_output(out)
    found: dict[str, dict[int, list[float]]] = {}
    for name, runs in group_by_method(find_runs(sources)).items():
        for run in runs:
            if (count := run.config.get("train_size")) is None:
                fact = f"{run.path} has no --train-size, so its number of labels is not known"
                raise UserError(
                    fact, hint="train it with --train-size N, N being all that there are"
                )
            line = found.setdefault(re.sub(rf"(?<=.)-({count}|all)$", "", name), {})
            predictions = run.predictions()
            line.setdefault(int(count), []).append(
                float((predictions.predicted != predictions.labels).mean())
            )
    lines = [
        Line(name, {count: np.array(points[count]) for count in sorted(points)})
        for name, points in found.items()
    ]
    return save_figure(draw_label_efficiency(lines), out)


def check_output(out: Sequence[Path], settings: DrawingSettings | None = None) -> None:
    """UserError for what could not be written or made, before anything is read."""
    for path in out:
        if path.suffix.lower() not in FORMATS:
            raise unknown_name("figure format", path.suffix or path.name, FORMATS)
        if not path.parent.is_dir():
            raise UserError(
                f"there is no folder {path.parent}",
                hint="make it, or choose another place for the figure",
            )
    if settings:
        DISTANCES.find(settings.distance)
        settings.check()


def save_figure(figure: Figure, out: Sequence[Path]) -> Figure:
    """The figure, written to every path; made again, it is the same bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "rdl"}):
        for path in out:
            kind = path.suffix.lower()
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind[1:], dpi=300, metadata=FORMATS[kind])
            data = buffer.getvalue()
            if kind == ".svg":
                data = EMBEDDED.sub(reduce_palette, data.decode("utf-8")).encode("utf-8")
            atomic_write(path, data)
            log(f"{path}: written")
    return figure


def reduce_palette(found: re.Match[str]) -> str:
    """A picture within an SVG with a palette, where 256 colours are enough for it: the same pixels in a quarter of matplotlib's bytes."""
    with Image.open(io.BytesIO(base64.b64decode(found[2]))) as picture:
        colours, places = np.unique(
            np.asarray(picture.convert("RGBA")).reshape(-1, 4), axis=0, return_inverse=True
        )
        if len(colours) > 256 or (colours[:, 3] < 255).any():
            return found[0]
        smaller = Image.fromarray(
            places.reshape(picture.height, picture.width).astype(np.uint8), mode="P"
        )
    smaller.putpalette(colours[:, :3].tobytes())
    smaller.save(written := io.BytesIO(), format="png", optimize=True)
    return found[1] + base64.b64encode(written.getvalue()).decode("ascii")
