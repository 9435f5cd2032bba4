"""Render the summary of a run or a store for a terminal."""

from collections import Counter
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from rdl_cli.cli.render.tables import add_row, empty_table
from rdl_cli.commands.compare.words import format_percent
from rdl_cli.commands.reproduce.status import ExperimentSummary
from rdl_cli.commands.show import (
    ErrorRates,
    LayerSummary,
    ProvenanceLink,
    ProvenanceSummary,
    RunSummary,
    StoreSummary,
)

STYLES = {"changed": "bold red", "missing": "bold red", "unchanged": "green"}

WEIGHTS = {"final": "final epoch", "best": "best on validation"}

SIMILARITY_COLUMNS = (
    "layer",
    "region",
    "stimuli",
    "Spearman",
    "Pearson",
    "mean of subjects",
    "noise ceiling",
    "own batch-norm statistics",
)


def to_rich(summary: RunSummary | StoreSummary | ExperimentSummary) -> RenderableType:
    """Return the summary as tables and a tree of its parents."""
    if isinstance(summary, ExperimentSummary):
        return _render_experiment(summary)
    if isinstance(summary, RunSummary):
        return _render_run(summary)
    return _render_store(summary)


def _render_experiment(experiment: ExperimentSummary) -> RenderableType:
    counts = Counter(job.state for job in experiment.jobs)
    title = ", ".join(f"{count} {state}" for state, count in counts.items())
    table = empty_table(f"{experiment.path}: {title}", "run", "state", "epochs", "note")
    for job in experiment.jobs:
        epochs = f"{job.epochs} of {job.n_epochs}" if job.n_epochs else str(job.epochs or "")
        add_row(table, job.name, job.state, epochs, job.note)
    return table


def _render_run(run: RunSummary) -> RenderableType:
    state = "finished" if run.finished else "not finished"
    facts = [
        ("run", run.path),
        ("method", run.method),
        ("seed", str(run.seed)),
        ("state", f"{state}, {run.epochs} epochs"),
        ("settings", ", ".join(f"{name} = {value}" for name, value in run.config.items())),
        *_list_provenance(run.provenance),
    ]
    errors = empty_table("Errors in %", "weights of", "epoch", "validation", "test", "95 %")
    for rates in run.errors:
        add_row(errors, *_format_errors(rates))
    parts: list[RenderableType] = [_render_facts(facts), Text(), errors]
    if run.brain_similarity:
        parts.append(_render_similarity(run.brain_similarity))
    if heldout := run.heldout_stimuli:
        names = ", ".join(map(str, heldout))
        parts += [Text(), _render_facts([(f"held out ({len(heldout)})", names)])]
    return Group(*parts, _render_parents(run.path, run.parents))


def _render_similarity(rows: tuple[dict[str, Any], ...]) -> Table:
    """Return the similarities, each subject's beside the noise ceiling that applies to it."""
    table = empty_table("Brain similarity", *SIMILARITY_COLUMNS)
    for row in rows:
        names = ("spearman", "pearson", "mean_subject_spearman", "spearman_stimulus_bn")
        numbers = ["–" if row[name] is None else f"{row[name]:.3f}" for name in names]
        ceiling = "–"
        if row["noise_ceiling_lower"] is not None:
            ceiling = f"{row['noise_ceiling_lower']:.3f} – {row['noise_ceiling_upper']:.3f}"
        stimuli = f"{row['n_stimuli']} {row['stimuli']}"
        add_row(table, row["layer"], row["region"], stimuli, *numbers[:3], ceiling, numbers[3])
    return table


def _render_store(store: StoreSummary) -> RenderableType:
    images = f", images {_format_shape(store.images)} uint8" if store.images else ""
    columns = (("names", store.has_names), ("labels", store.has_labels))
    known = ", ".join(name for name, present in columns if present)
    facts = [
        ("store", store.path),
        ("size", f"{store.bytes:,} bytes"),
        ("stimuli", f"{store.n_stimuli:,}{images}{known and ', with ' + known}"),
    ]
    if store.decode:
        decode = ", ".join(f"{name} {value}" for name, value in store.decode.items())
        facts.append(("decoding", decode))
    if store.teacher_error is not None:
        facts.append(("teacher", f"error {format_percent(store.teacher_error)} % on these stimuli"))
    provenance = store.provenance
    if len(store.exports) > 1:  # the last command alone did not make all layers
        provenance = replace(provenance, command="")
        facts += [
            ("export", f"{', '.join(export['layers'])}: {export['command']} ({export['made']})")
            for export in store.exports
        ]
    columns_of_layers = ("activations", "views", "kernel", "RDMs", "dtype", "distance", "notes")
    layers = empty_table("Layers", "layer", *columns_of_layers)
    for layer in store.layers:
        add_row(layers, *_format_layer(layer))
    parents = _render_parents(store.path, store.parents)
    return Group(_render_facts([*facts, *_list_provenance(provenance)]), Text(), layers, parents)


def _format_errors(rates: ErrorRates) -> list[str]:
    epoch = "–" if rates.epoch is None else str(rates.epoch)
    validation = "–" if rates.validation is None else format_percent(rates.validation)
    cells = [WEIGHTS[rates.weights], epoch, validation]
    if rates.test is None or rates.low is None or rates.high is None:
        return [*cells, "–", "–"]
    test = f"{format_percent(rates.test)} ({rates.n_errors:,} of {rates.n_images:,})"
    return [*cells, test, f"[{format_percent(rates.low)}, {format_percent(rates.high)}]"]


def _format_layer(layer: LayerSummary) -> list[str]:
    notes = [f"{name} {value}" for name, value in layer.notes.items()]
    return [
        layer.name,
        "–" if layer.shape is None else _format_shape(layer.shape),
        ", ".join(layer.views) or "–",
        "–" if layer.units is None else f"of {layer.units:,} units",
        str(layer.n_rdms or "–"),
        layer.dtype,
        layer.distance or "–",
        ", ".join([*notes, *(["untrained"] if layer.untrained else [])]),
    ]


def _format_shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _list_provenance(provenance: ProvenanceSummary) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    facts = [
        ("command", provenance.command),
        ("made", provenance.made),
        ("commit", provenance.commit),
        ("device", provenance.device),
        ("versions", versions),
    ]
    return [(name, value) for name, value in facts if value]


def _render_facts(facts: list[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def _render_parents(path: str, parents: tuple[ProvenanceLink, ...]) -> Tree:
    tree = Tree(Text(f"{path} was made from" if parents else f"{path} records no inputs"))
    _add_parents(tree, parents)
    return tree


def _add_parents(tree: Tree, parents: tuple[ProvenanceLink, ...]) -> None:
    for link in parents:
        text = Text.assemble(
            f"{link.kind} {link.path}: ",
            (link.state, STYLES.get(link.state, "")),
            f" ({link.note})" if link.note else "",
        )
        _add_parents(tree.add(text), link.parents)
