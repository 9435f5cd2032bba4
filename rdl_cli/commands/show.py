"""What a run or a store is, how good it became, and whether what it was made from is still the same. No torch."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.commands.console import log
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import file_digest
from rdl_cli.runs.run import EPOCHS, Run
from rdl_cli.statistics.intervals import wilson
from rdl_cli.store.store import Store, store_fingerprint

SCHEMA = "rdl-show/1"
EMBEDDED = "digits"
"""The data set that lies in no folder."""


@dataclass(frozen=True)
class ProvenanceLink:
    """A parent, and through it its own. `state`: `unchanged` or `changed` since, `missing`, or `not checked`, and `note` says why."""

    kind: str
    path: str
    fingerprint: str
    state: str
    note: str = ""
    parents: tuple["ProvenanceLink", ...] = ()


@dataclass(frozen=True)
class ErrorRates:
    """Error rates with the weights after one epoch (counted from 1); the test error with Wilson's 95 % interval, once finished."""

    which: str
    epoch: int | None
    validation: float | None
    errors: int | None = None
    images: int | None = None
    test: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ProvenanceSummary:
    """How a file came to be."""

    command: str
    when: str
    commit: str | None
    device: str | None
    versions: dict[str, str]


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance. `epochs` are those it has been through; `fingerprint` is that of its weights, None before it finished.

    `brain_similarity` is stimuli.json's of a student of a brain: layer, region, stimuli, number, spearman, pearson, subjects, lower, upper, ...
    """

    path: str
    method: str
    seed: int
    finished: bool
    epochs: int
    config: dict[str, Any]
    accuracies: tuple[ErrorRates, ...]
    fingerprint: str | None
    made: ProvenanceSummary
    parents: tuple[ProvenanceLink, ...]
    brain_similarity: tuple[dict[str, Any], ...] = ()
    kind: str = field(default="run", init=False)


@dataclass(frozen=True)
class LayerSummary:
    """What is stored of a layer. `shape` is that of one picture's activations; `rdms` counts its RDMs.

    `units` is over how many units the inner products of its kernel are, where it has one.
    """

    name: str
    shape: tuple[int, ...] | None
    views: tuple[str, ...]
    rdms: int
    dtype: str
    distance: str
    notes: dict[str, Any]
    units: int | None = None


@dataclass(frozen=True)
class StoreSummary:
    """A store at a glance. `images` is the shape of one stored picture; `teacher_error` the teacher's error rate on the stimuli."""

    path: str
    bytes: int
    stimuli: int
    images: tuple[int, ...] | None
    named: bool
    labelled: bool
    layers: tuple[LayerSummary, ...]
    teacher_error: float | None
    fingerprint: str
    made: ProvenanceSummary
    parents: tuple[ProvenanceLink, ...]
    exports: tuple[dict[str, Any], ...] = ()
    """Layers, command, made, commit and config of each export that added to it, where there were several."""
    kind: str = field(default="store", init=False)


def show(path: Path, verify: bool = False) -> RunSummary | StoreSummary:
    """What lies at the path. UserError where it is neither a run nor a store, or is damaged.

    A run's weights and predictions are always compared with their seals. `verify` reads the rest as well: every number
    of a store, every file of a run, and says so.
    """
    if not path.exists():
        raise UserError(f"there is nothing at {path}")
    if path.is_file():
        store = Store.open(path)
        if verify:
            _log_verified(path, "everything is", store.verify())
        return _store(store)
    if not (path / "config.toml").is_file() and (
        runs := sorted(p.parent.name for p in path.glob("*/config.toml"))
    ):
        raise UserError(
            f"{path} is a folder of {len(runs)} runs: {', '.join(runs)}",
            hint="show one of them, or rdl compare all of them",
        )
    run = Run.open(path)
    card = _run(run)
    if verify:
        _log_verified(path, "every file is", run.verify())
    return card


def _log_verified(path: Path, what: str, older: Sequence[str]) -> None:
    but = (
        f", but of {', '.join(older)} nothing is known: an older rdl took no digests"
        if older
        else ""
    )
    log(f"{path}: {what} what was written{but}")


def as_dict(card: RunSummary | StoreSummary) -> dict[str, Any]:
    """The card as plain data: `schema`, `kind` (run or store), then the fields of the classes above."""
    return {"schema": SCHEMA, "kind": card.kind} | asdict(card)


def _run(run: Run) -> RunSummary:
    rows = run.metrics()
    weights = run.fingerprint() if run.weights.is_file() else None
    made = run.provenance
    accuracies = tuple(_accuracy(run, which, rows) for which in EPOCHS)
    parents, brain_similarity = (
        _links(made, run.path),
        tuple((run.stimuli or {}).get("brain_similarity", ())),
    )
    return RunSummary(
        str(run.path),
        run.name,
        run.seed,
        run.finished,
        len(rows),
        run.config,
        accuracies,
        weights,
        _summarise_provenance(made),
        parents,
        brain_similarity,
    )


def _accuracy(run: Run, which: str, rows: list[dict[str, str]]) -> ErrorRates:
    errors = [float(row["validation_error"]) for row in rows]
    at = None if not rows else len(rows) - 1 if which == "final" else int(np.argmin(errors))
    epoch, validation = (
        (None, None) if at is None else (int(float(rows[at]["epoch"])) + 1, errors[at])
    )
    if not run.finished:
        return ErrorRates(which, epoch, validation)
    found = run.predictions(which)
    n = len(found.labels)
    return ErrorRates(
        which, epoch, validation, found.errors, n, *(wilson(found.errors, n) if n else ())
    )


def _store(store: Store) -> StoreSummary:
    stimuli = store.stimuli
    return StoreSummary(
        path=str(store.path),
        bytes=store.path.stat().st_size,
        stimuli=len(stimuli.digests),
        images=None if stimuli.images is None else stimuli.images.shape[1:],
        named=stimuli.names is not None,
        labelled=stimuli.labels is not None,
        layers=tuple(_layer(store, name) for name in store.layers),
        teacher_error=store.provenance.get("teacher_error"),
        fingerprint=store_fingerprint(store),
        made=_summarise_provenance(store.provenance),
        parents=_links(store.provenance, store.path),
        exports=tuple(store.provenance.get("exports", ())),
    )


def _layer(store: Store, name: str) -> LayerSummary:
    kept, activations = store.extent(name), store.has_activations(name)
    notes = {
        key: value
        for key, value in store.attrs(name).items()
        if key not in ("name", "views", "distance", "units") and value != ""
    }
    return LayerSummary(
        name=name,
        shape=kept.shape[2:] if activations else None,
        views=store.views(name) if activations else (),
        rdms=store.n_rdms(name),
        dtype=str(kept.dtype),
        distance=store.attrs(name).get("distance", ""),
        notes=notes,
        units=store.attrs(name).get("units"),
    )


def _summarise_provenance(provenance: dict[str, Any]) -> ProvenanceSummary:
    get = provenance.get
    return ProvenanceSummary(
        get("command", ""), get("made", ""), get("commit"), get("device"), get("versions", {})
    )


def _links(provenance: dict[str, Any], *children: Path) -> tuple[ProvenanceLink, ...]:
    """The parents that a provenance names. `children` are the files on the way here, which are not followed again."""
    dataset = provenance.get("config", {}).get("dataset", "")
    return tuple(_link(parent, dataset, children) for parent in provenance.get("parents", ()))


def _link(parent: dict[str, Any], dataset: str, children: tuple[Path, ...]) -> ProvenanceLink:
    kind, path, then = parent["kind"], Path(parent["path"]), parent["fingerprint"]
    link = (kind, str(path), then)
    if kind == "dataset":
        if dataset != EMBEDDED and not path.exists():
            return ProvenanceLink(*link, "missing", dataset)
        return ProvenanceLink(
            *link, "not checked", f"{dataset}; its pictures are compared whenever they are read"
        )
    if not path.exists():
        return ProvenanceLink(*link, "missing")
    if kind not in FINGERPRINTS and path.is_dir():
        return ProvenanceLink(*link, "not checked")
    try:
        now, made = FINGERPRINTS.get(kind, _file)(path, parent.get("layers", ()))
    except UserError as error:
        return ProvenanceLink(*link, "changed", str(error))
    if now != then and kind == "store" and "layers" not in parent:
        return ProvenanceLink(
            *link, "not checked", "an older rdl knew stores by another fingerprint"
        )
    if now != then:
        return ProvenanceLink(
            *link, "changed", f"its fingerprint was {then[:12]}, now it is {now[:12]}"
        )
    return ProvenanceLink(
        *link, "unchanged", parents=() if path in children else _links(made, *children, path)
    )


def _run_now(path: Path, _layers: Sequence[str]) -> tuple[str, dict[str, Any]]:
    run = Run.open(path)
    return run.fingerprint(), run.provenance


def _store_now(path: Path, layers: Sequence[str]) -> tuple[str, dict[str, Any]]:
    store = Store.open(path)
    return store_fingerprint(store, layers), store.provenance


def _file(path: Path, _layers: Sequence[str]) -> tuple[str, dict[str, Any]]:
    return file_digest(path), {}


FINGERPRINTS: dict[str, Callable[[Path, Sequence[str]], tuple[str, dict[str, Any]]]] = {
    "run": _run_now,
    "store": _store_now,
}
"""What a parent's content is now, of a store that of the layers which are followed, and its own provenance; any other kind is a file."""
