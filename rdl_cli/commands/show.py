"""Summarise a run or a store, and check whether its inputs have changed. No torch."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.commands.console import log
from rdl_cli.commands.reproduce.status import JOB_LIST, ExperimentSummary, list_job_states
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import file_digest
from rdl_cli.runs.predictions import EPOCHS
from rdl_cli.runs.run import Run
from rdl_cli.statistics.intervals import clopper_pearson
from rdl_cli.store.store import Store

SCHEMA = "rdl-show/2"
EMBEDDED = "digits"  # this data set needs no folder: it comes with scikit-learn


@dataclass(frozen=True)
class ProvenanceLink:
    """A parent, and its own parents.

    `state` is `unchanged`, `changed`, `missing` or `not checked`; `note` gives the reason.
    """

    kind: str
    path: str
    fingerprint: str
    state: str
    note: str = ""
    parents: tuple["ProvenanceLink", ...] = ()


@dataclass(frozen=True)
class ErrorRates:
    """Error rates with the weights after one epoch, counted from 1.

    `test` has the exact 95 % interval `low` to `high`. None before the run has finished.
    """

    weights: str
    epoch: int | None
    validation: float | None
    n_errors: int | None = None
    n_images: int | None = None
    test: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ProvenanceSummary:
    """How a file was made."""

    command: str
    made: str
    commit: str | None
    device: str | None
    versions: dict[str, str]


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance.

    Args:
        epochs: how many it has completed.
        fingerprint: that of the weights, None before the run has finished.
        brain_similarity: that of stimuli.json, of a student of a brain: layer, region, stimuli,
            n_stimuli, spearman, pearson, mean_subject_spearman, noise_ceiling_lower, ...
        heldout_stimuli: their names, or their rows from 0 without names; of a student of a brain.
    """

    path: str
    method: str
    seed: int
    finished: bool
    epochs: int
    config: dict[str, Any]
    errors: tuple[ErrorRates, ...]
    fingerprint: str | None
    provenance: ProvenanceSummary
    parents: tuple[ProvenanceLink, ...]
    brain_similarity: tuple[dict[str, Any], ...] = ()
    heldout_stimuli: tuple[str | int, ...] = ()
    kind: str = field(default="run", init=False)


@dataclass(frozen=True)
class LayerSummary:
    """What is stored of a layer.

    Args:
        shape: that of one image's activations, None without activations.
        n_rdms: how many RDMs.
        units: how many units the kernel's inner products sum over, None without a kernel.
        notes: other attributes.
    """

    name: str
    shape: tuple[int, ...] | None
    views: tuple[str, ...]
    n_rdms: int
    dtype: str
    distance: str
    notes: dict[str, Any]
    units: int | None = None
    untrained: bool = False


@dataclass(frozen=True)
class StoreSummary:
    """A store at a glance.

    Args:
        images: the shape of one stored image, None without images.
        teacher_error: the teacher's error rate on the stimuli.
        exports: of each of several exports: layers, command, made, commit, config.
    """

    path: str
    bytes: int
    n_stimuli: int
    images: tuple[int, ...] | None
    has_names: bool
    has_labels: bool
    digest_kind: str
    decode: dict[str, str]
    layers: tuple[LayerSummary, ...]
    teacher_error: float | None
    fingerprint: str
    provenance: ProvenanceSummary
    parents: tuple[ProvenanceLink, ...]
    exports: tuple[dict[str, Any], ...] = ()
    kind: str = field(default="store", init=False)


def show(path: Path, verify: bool = False) -> RunSummary | StoreSummary | ExperimentSummary:
    """Return the summary of a run, a store or an experiment's folder.

    UserError if it is none of them, or is damaged.

    A run's weights and predictions are always compared with their checksums. `verify` also reads
    all other values of a store, or files of a run, and logs the result.
    """
    if not path.exists():
        raise UserError(f"there is nothing at {path}")
    if path.is_file():
        store = Store.open(path)
        if verify:
            store.verify()
            log(f"{path}: everything is as it was written")
        return summarise_store(store)
    if (path / JOB_LIST).is_file():
        return ExperimentSummary(str(path), tuple(list_job_states(path)))
    runs = sorted(file.parent.name for file in path.glob("*/config.toml"))
    if runs and not (path / "config.toml").is_file():
        raise UserError(
            f"{path} is a folder of {len(runs)} runs: {', '.join(runs)}",
            hint="show one of them, or compare all of them with rdl compare",
        )
    run = Run.open(path)
    summary = summarise_run(run)
    if verify:
        run.verify()
        log(f"{path}: every file is as it was written")
    return summary


def as_dict(summary: RunSummary | StoreSummary | ExperimentSummary) -> dict[str, Any]:
    """Return the summary as plain data: `schema`, `kind`, then the fields of its class."""
    return {"schema": SCHEMA, "kind": summary.kind} | asdict(summary)


def summarise_run(run: Run) -> RunSummary:
    """Return the summary of a run. UserError if a file of it is damaged."""
    rows, stimuli = run.metrics(), run.stimuli or {}
    return RunSummary(
        path=str(run.path),
        method=run.name,
        seed=run.seed,
        finished=run.finished,
        epochs=len(rows),
        config=run.config,
        errors=tuple(_summarise_errors(run, weights, rows) for weights in EPOCHS),
        fingerprint=run.fingerprint() if run.weights.is_file() else None,
        provenance=_summarise_provenance(run.provenance),
        parents=_check_parents(run.provenance, run.path),
        brain_similarity=tuple(stimuli.get("brain_similarity", ())),
        heldout_stimuli=tuple(stimuli.get("stimuli", {}).get("heldout", ())),
    )


def summarise_store(store: Store) -> StoreSummary:
    """Return the summary of a store. Reads no values of layers."""
    stimuli = store.stimuli
    return StoreSummary(
        path=str(store.path),
        bytes=store.path.stat().st_size,
        n_stimuli=len(stimuli.digests),
        images=None if stimuli.images is None else stimuli.images.shape[1:],
        has_names=stimuli.names is not None,
        has_labels=stimuli.labels is not None,
        digest_kind=stimuli.digest_kind,
        decode=dict(stimuli.decode),
        layers=tuple(_summarise_layer(store, name) for name in store.layers),
        teacher_error=store.provenance.get("teacher_error"),
        fingerprint=store.fingerprint(),
        provenance=_summarise_provenance(store.provenance),
        parents=_check_parents(store.provenance, store.path),
        exports=tuple(store.provenance.get("exports", ())),
    )


def _summarise_errors(run: Run, weights: str, rows: list[dict[str, str]]) -> ErrorRates:
    epoch = validation = None
    if rows:
        errors = [float(row["validation_error"]) for row in rows]
        row = len(rows) - 1 if weights == "final" else int(np.argmin(errors))
        epoch, validation = int(float(rows[row]["epoch"])) + 1, errors[row]
    if not run.finished:
        return ErrorRates(weights, epoch, validation)
    predictions = run.predictions(weights)
    n = len(predictions.labels)
    interval = clopper_pearson(predictions.errors, n) if n else ()
    return ErrorRates(weights, epoch, validation, predictions.errors, n, *interval)


def _summarise_layer(store: Store, name: str) -> LayerSummary:
    layer = store.layer(name)
    shown = ("name", "views", "distance", "units", "untrained")
    return LayerSummary(
        name=name,
        shape=layer.shape,
        views=layer.views,
        n_rdms=layer.n_rdms,
        dtype=str(layer.dtype),
        distance=layer.distance,
        notes={k: v for k, v in layer.attributes.items() if k not in shown and v != ""},
        units=layer.units,
        untrained=layer.untrained,
    )


def _summarise_provenance(record: dict[str, Any]) -> ProvenanceSummary:
    texts = record.get("command", ""), record.get("made", "")
    return ProvenanceSummary(
        *texts, record.get("commit"), record.get("device"), record.get("versions", {})
    )


def _check_parents(record: dict[str, Any], *children: Path) -> tuple[ProvenanceLink, ...]:
    """Compare the parents in a provenance with what is there now.

    `children` are the files on the way here; they are not followed again.
    """
    dataset = record.get("config", {}).get("dataset", "")
    return tuple(_check_parent(parent, dataset, children) for parent in record.get("parents", ()))


def _check_parent(
    parent: dict[str, Any], dataset: str, children: tuple[Path, ...]
) -> ProvenanceLink:
    kind, path, before = parent["kind"], Path(parent["path"]), parent["fingerprint"]

    def link(state: str, note: str = "", **parents: Any) -> ProvenanceLink:
        return ProvenanceLink(kind, str(path), before, state, note, **parents)

    if kind == "dataset":
        if dataset != EMBEDDED and not path.exists():
            return link("missing", dataset)
        return link("not checked", f"{dataset}; its images are compared when they are read")
    if not path.exists():
        return link("missing")
    if kind not in FINGERPRINTS and not path.is_file():
        return link("not checked")
    fingerprint = FINGERPRINTS.get(kind, lambda path, _layers: (file_digest(path), {}))
    try:
        now, record = fingerprint(path, parent.get("layers", ()))
    except (UserError, OSError) as error:
        return link("changed", str(error))
    if now != before:
        return link("changed", f"its fingerprint was {before[:12]}, now it is {now[:12]}")
    parents = () if path in children else _check_parents(record, *children, path)
    return link("unchanged", parents=parents)


def _fingerprint_run(path: Path, _layers: Sequence[str]) -> tuple[str, dict[str, Any]]:
    run = Run.open(path)
    return run.fingerprint(), run.provenance


def _fingerprint_store(path: Path, layers: Sequence[str]) -> tuple[str, dict[str, Any]]:
    store = Store.open(path)
    return store.fingerprint(layers), store.provenance


FINGERPRINTS: dict[str, Callable[[Path, Sequence[str]], tuple[str, dict[str, Any]]]] = {
    "run": _fingerprint_run,
    "store": _fingerprint_store,
}
"""The fingerprint now, and the provenance, of a parent by kind. Any other kind is a file."""
