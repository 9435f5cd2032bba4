"""A run or a store as a person reads it."""

from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from rdl_cli.cli.render.tables import add_row, empty_table, format_percent
from rdl_cli.commands.show import (
    ErrorRates,
    LayerSummary,
    ProvenanceLink,
    ProvenanceSummary,
    RunSummary,
    StoreSummary,
)

STYLES = {"changed": "bold red", "missing": "bold red", "unchanged": "green"}


def to_rich(card: RunSummary | StoreSummary) -> RenderableType:
    return _run(card) if isinstance(card, RunSummary) else _store(card)


def _run(card: RunSummary) -> RenderableType:
    state = "finished" if card.finished else "not finished"
    facts = [
        ("run", card.path),
        ("method", card.method),
        ("seed", str(card.seed)),
        ("state", f"{state}, {card.epochs} epochs"),
    ]
    errors = empty_table("Errors in %", "weights of", "epoch", "validation", "test", "95 %")
    for accuracy in card.accuracies:
        add_row(errors, *_accuracy(accuracy))
    settings = ", ".join(f"{name} = {value}" for name, value in card.config.items())
    parts: list[RenderableType] = [
        _facts([*facts, ("settings", settings), *_made(card.made)]),
        Text(),
        errors,
    ]
    return Group(
        *parts,
        *([_likeness(card.brain_similarity)] if card.brain_similarity else []),
        _chain(card.path, card.parents),
    )


def _likeness(rows: tuple[dict[str, Any], ...]) -> Table:
    """How like a brain the student is; each subject's brain_similarity stands beside the noise ceiling that is for it."""
    columns = (
        "layer",
        "region",
        "stimuli",
        "Spearman",
        "Pearson",
        "each subject",
        "noise ceiling",
        "own batch-norm statistics",
    )
    table = empty_table("Brain similarity to the brain", *columns)
    for row in rows:
        numbers = [
            f"{row[name]:.3f}" if row[name] is not None else "–"
            for name in ("spearman", "pearson", "mean_subject_spearman", "spearman_stimulus_bn")
        ]
        ceiling = (
            "–"
            if row["noise_ceiling_lower"] is None
            else f"{row['noise_ceiling_lower']:.3f} – {row['noise_ceiling_upper']:.3f}"
        )
        add_row(
            table,
            row["layer"],
            row["region"],
            f"{row['number']} {row['stimuli']}",
            *numbers[:3],
            ceiling,
            numbers[3],
        )
    return table


def _store(card: StoreSummary) -> RenderableType:
    pictures = f", pictures {_shape(card.images)} uint8" if card.images else ""
    known = ", ".join(
        name for name, there in (("names", card.named), ("labels", card.labelled)) if there
    )
    facts = [
        ("store", card.path),
        ("size", f"{card.bytes:,} bytes"),
        ("stimuli", f"{card.stimuli:,}{pictures}{known and ', with ' + known}"),
    ]
    if card.teacher_error is not None:
        facts.append(("teacher", f"error {format_percent(card.teacher_error)} % on these stimuli"))
    made = card.made
    if len(card.exports) > 1:  # the last is not how all of its layers came to be there
        made = replace(made, command="")
        facts += [
            ("export", f"{', '.join(each['layers'])}: {each['command']} ({each['made']})")
            for each in card.exports
        ]
    layers = empty_table(
        "Layers", "layer", "activations", "views", "kernel", "RDMs", "numbers", "distance", "notes"
    )
    for layer in card.layers:
        add_row(layers, *_layer(layer))
    return Group(_facts([*facts, *_made(made)]), Text(), layers, _chain(card.path, card.parents))


def _accuracy(accuracy: ErrorRates) -> list[str]:
    """Which accuracy is it? Both, named: after the final epoch, and after the one that was best on validation images."""
    epoch = "–" if accuracy.epoch is None else str(accuracy.epoch)
    validation = "–" if accuracy.validation is None else format_percent(accuracy.validation)
    name = {"final": "final epoch", "best": "best on validation"}[accuracy.which]
    if accuracy.test is None or accuracy.low is None or accuracy.high is None:
        return [name, epoch, validation, "–", "–"]
    test = f"{format_percent(accuracy.test)} ({accuracy.errors:,} of {accuracy.images:,})"
    return [
        name,
        epoch,
        validation,
        test,
        f"[{format_percent(accuracy.low)}, {format_percent(accuracy.high)}]",
    ]


def _layer(layer: LayerSummary) -> list[str]:
    notes = ", ".join(f"{name} {value}" for name, value in layer.notes.items())
    shape = "–" if layer.shape is None else _shape(layer.shape)
    kernel = "–" if layer.units is None else f"of {layer.units:,} units"
    return [
        layer.name,
        shape,
        ", ".join(layer.views) or "–",
        kernel,
        str(layer.rdms or "–"),
        layer.dtype,
        layer.distance or "–",
        notes,
    ]


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _made(made: ProvenanceSummary) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    facts = [
        ("command", made.command),
        ("made", made.when),
        ("commit", made.commit),
        ("device", made.device),
        ("versions", versions),
    ]
    return [(name, value) for name, value in facts if value]


def _facts(facts: list[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def _chain(path: str, parents: tuple[ProvenanceLink, ...]) -> Tree:
    tree = Tree(
        Text(f"{path} was made from" if parents else f"{path} names nothing that it was made from")
    )
    _grow(tree, parents)
    return tree


def _grow(tree: Tree, parents: tuple[ProvenanceLink, ...]) -> None:
    for link in parents:
        text = Text.assemble(
            f"{link.kind} {link.path}: ",
            (link.state, STYLES.get(link.state, "")),
            f" ({link.note})" if link.note else "",
        )
        _grow(tree.add(text), link.parents)
