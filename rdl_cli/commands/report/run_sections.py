"""The sections of a report that are read from run folders: curves, loss terms, settings, origin."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rdl_cli.report.charts import Series, draw_curves
from rdl_cli.report.page import Cell, Charts, Commands, Section, Table, Text
from rdl_cli.runs.run import SAME_METHOD, Run

FRACTION = "grad_fraction/"

RunsByMethod = Mapping[str, Sequence[Run]]


def curve_section(runs_by_method: RunsByMethod) -> Section | None:
    """Return training and validation error over epochs; None if no run has an epoch."""
    charts = []
    for column, name in (
        ("train_error", "Training error, during each epoch"),
        ("validation_error", "Validation error, after each epoch"),
    ):
        series = _read_series(runs_by_method, column, 100.0)
        if series:
            charts.append(draw_curves(name, series, "epoch", "error (%)", logarithmic=True))
    if not charts:
        return None
    n = max(map(len, runs_by_method.values()))
    caption = (
        f"Lines: mean of up to {n} seeds. Bands: lowest to highest. The axis is logarithmic;"
        " errors of 0 are at its lower edge."
    )
    rows = [
        [s.name, Cell(f"{last:.2f}", last), Cell(f"{best:.2f}", best), str(int(s.x[best_at]))]
        for s in _read_series(runs_by_method, "validation_error", 100.0)
        for last in [float(s.mean[-1])]
        for best_at in [int(s.mean.argmin())]
        for best in [float(s.mean[best_at])]
    ]
    table = Table(["method", "last validation error %", "lowest", "after epoch"], rows)
    return Section("Learning curves", [Charts(charts, caption=caption, values=table)])


def fraction_section(runs_by_method: RunsByMethod) -> Section | None:
    """Return the fraction of the gradient's norm of each loss term; None if no method has two."""
    charts, rows = [], []
    for method, runs in runs_by_method.items():
        columns = list(
            dict.fromkeys(
                column
                for run in runs
                for row in run.metrics()[:1]
                for column in row
                if column.startswith(FRACTION)
            )
        )
        series = []
        for k, column in enumerate(columns):
            for s in _read_series({method: runs}, column, 1.0):
                series.append(_rename(s, column.removeprefix(FRACTION), k))
        if len(series) < 2:
            continue
        charts.append(draw_curves(method, series, "epoch", "fraction", y_range=(0.0, 1.0)))
        rows += [
            [
                method,
                s.name,
                Cell(f"{s.mean[0]:.3f}", float(s.mean[0])),
                Cell(f"{s.mean[-1]:.3f}", float(s.mean[-1])),
            ]
            for s in series
        ]
    if not charts:
        return None
    caption = (
        "Each term's fraction of the summed gradient norms at the shared weights, in the first step"
        " of an epoch. Lines: mean over seeds; bands: lowest to highest."
    )
    table = Table(["method", "term", "first epoch", "last epoch"], rows)
    return Section("Gradient of each loss term", [Charts(charts, caption=caption, values=table)])


def settings_section(runs_by_method: RunsByMethod) -> Section:
    """Return the settings that differ between methods, and those that all share."""
    configs = {name: runs[0].config for name, runs in runs_by_method.items()}
    keys = [
        key
        for key in dict.fromkeys(key for config in configs.values() for key in config)
        if key not in SAME_METHOD
    ]
    texts = {key: [_format_setting(config.get(key)) for config in configs.values()] for key in keys}
    differing = [key for key in keys if len(set(texts[key])) > 1]
    shared = [f"{key} = {texts[key][0]}" for key in keys if key not in differing]
    seeds = {
        name: ", ".join(str(run.seed) for run in runs) for name, runs in runs_by_method.items()
    }
    rows = [
        [name, seeds[name], *(texts[key][k] for key in differing)] for k, name in enumerate(configs)
    ]
    blocks: list[Any] = [Table(["method", "seeds", *differing], rows, "Settings that differ")]
    if shared:
        blocks.append(Text([f"All methods: {', '.join(shared)}."]))
    return Section("Settings", blocks)


def origin_section(runs_by_method: RunsByMethod, command: str, others: Sequence[str]) -> Section:
    """Return when, where and from which files each run was made, and the commands."""
    runs = [(name, run) for name, group in runs_by_method.items() for run in group]
    rows = [
        [
            name,
            Cell(str(run.seed), run.seed),
            str(run.provenance.get("made", "")),
            str(run.provenance.get("device", "")),
            str(run.provenance.get("commit") or "–"),
            Cell(run.fingerprint()[:12], tip=f"SHA-256 of the weights: {run.fingerprint()}"),
            Cell(
                "\n".join(_describe_parent(parent) for parent in run.provenance.get("parents", ()))
                or "–"
            ),
        ]
        for name, run in runs
    ]
    columns = ["method", "seed", "made", "device", "commit", "weights", "made from"]
    versions = dict.fromkeys(
        ", ".join(f"{k} {v}" for k, v in run.provenance.get("versions", {}).items())
        for _, run in runs
    )
    commands = dict.fromkeys(str(run.provenance.get("command", "")) for _, run in runs)
    return Section(
        "Provenance",
        [
            Table(columns, rows, "Runs", "Weights and parents: first digits of their SHA-256."),
            Text([f"Versions: {text}." for text in versions if text]),
            Text(["The commands that made the runs, and this page:"]),
            Commands([*(c for c in commands if c), *others, command]),
        ],
    )


def _describe_parent(parent: Mapping[str, Any]) -> str:
    return f"{parent['kind']} {parent['path']} ({str(parent['fingerprint'])[:12]})"


def _read_series(runs_by_method: RunsByMethod, column: str, factor: float) -> list[Series]:
    """Return a column of metrics.csv by method, over the epochs that all its runs have."""
    series = []
    for k, (name, runs) in enumerate(runs_by_method.items()):
        columns = [
            [float(row[column]) for row in run.metrics() if row.get(column) not in (None, "")]
            for run in runs
        ]
        columns = [values for values in columns if values]
        if not columns:
            continue
        n = min(map(len, columns))
        values = factor * np.array([values[:n] for values in columns])
        epochs = np.arange(1, n + 1)
        series.append(Series(name, epochs, values.mean(0), values.min(0), values.max(0), k))
    return series


def _rename(series: Series, name: str, number: int) -> Series:
    return Series(name, series.x, series.mean, series.low, series.high, number)


def _format_setting(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
