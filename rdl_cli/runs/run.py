"""The run folder: the files that training writes. No torch, so that compare and show start at once.

config.toml        resolved: `rdl train-student OUT --config config.toml` runs it again
provenance.json    command, versions, parents; format and version
metrics.csv        a row per epoch; timings.csv holds what differs between equal runs
checkpoint.pt      to resume from: optimizer, last and best-validation weights
stimuli.json       of a student of a brain: held-out stimuli and brain similarity
model.safetensors  the student alone, after the final epoch
checksums.txt      the SHA-256 of each other file, see core/checksum.py
predictions.h5     written last: present means finished
"""

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from rdl_cli.core.checksum import (
    MANIFEST,
    format_manifest,
    read_manifest,
    verify_file,
    verify_zip,
)
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import atomic_write, file_digest, remove_partials, write_text
from rdl_cli.runs.files import format_json, format_table, read_json, read_table, read_toml
from rdl_cli.runs.predictions import EPOCHS, Predictions, format_predictions, read_predictions

FORMAT = "rdl-run"
VERSION = 2

FILES = (
    "config.toml",
    "provenance.json",
    "metrics.csv",
    "timings.csv",
    "checkpoint.pt",
    "stimuli.json",
    "model.safetensors",
    MANIFEST,
    "predictions.h5",
)

SAME_METHOD = {"seed", "seeds", "label", "device", "data_root", "download"} | {
    "num_workers",
    "image_memory",
    "target_memory",
}
"""Settings that may differ between runs of one method."""

CONFIG_TYPES = {"seed": int, "label": str, "network": str, "dataset": str, "epochs": int}
"""Settings of config.toml on which the readers of a run rely."""

TIMINGS = ("seconds", "images_per_second")
"""Columns of timings.csv."""

SIMILARITY_KEYS = {"layer", "region", "stimuli", "n_stimuli", "spearman", "pearson"} | {
    "spearman_stimulus_bn",
    "mean_subject_spearman",
    "noise_ceiling_lower",
    "noise_ceiling_upper",
}
"""Of a brain similarity in stimuli.json."""

RUN_HINT = "a run is a folder that train-teacher or train-student made"
RESUME_HINT = "delete predictions.h5 in the same folder and run the run's command with --resume"


def seed_folder(out: Path, seed: int) -> Path:
    """Return the folder of one of several seeds."""
    return out / f"seed{seed}"


@dataclass(frozen=True)
class Run:
    path: Path

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Open the run at `path`, finished or not. UserError if there is none of this version."""
        if not path.exists():
            raise UserError(f"there is no run at {path}", hint=RUN_HINT)
        if not (path / "config.toml").is_file():
            raise UserError(f"{path} is not a run: it has no config.toml", hint=RUN_HINT)
        run = cls(path)
        if not run.config:
            raise UserError(f"{path} is not a run: its config.toml is empty", hint="train again")
        version = run.provenance.get("version", 1)
        if version != VERSION:
            command = run.provenance.get("command", "rdl train-student")
            raise UserError(
                f"{path} is a run of version {version}; this rdl reads version {VERSION}",
                hint=f"train it again (it was made by: {command})",
            )
        return run

    @classmethod
    def open_finished(cls, path: Path) -> "Run":
        """Open a finished run. UserError if it is not finished."""
        run = cls.open(path)
        if not run.finished:
            raise UserError(
                f"the run {path} never finished: it has no predictions.h5",
                hint="run its command again with --resume",
            )
        return run

    @property
    def finished(self) -> bool:
        return (self.path / "predictions.h5").is_file()

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @cached_property
    def config(self) -> dict[str, Any]:
        path = self._intact("config.toml")
        config = read_toml(path, RESUME_HINT)
        for name, kind in CONFIG_TYPES.items():
            if not isinstance(value := config.get(name, kind()), kind):
                fact = f"{path} is damaged: `{name}` is {value!r}, not {kind.__name__}"
                raise UserError(fact, hint=RESUME_HINT)
        return config

    @cached_property
    def provenance(self) -> dict[str, Any]:
        record = read_json(self._intact("provenance.json"), RESUME_HINT)
        if record is None:
            raise UserError(
                f"{self.path} has no provenance.json", hint="the run is incomplete; train again"
            )
        if not _has_parents(record):
            raise UserError(
                f"{self.path / 'provenance.json'} is damaged: a parent has no kind, path or"
                " fingerprint",
                hint=RESUME_HINT,
            )
        return record

    @cached_property
    def stimuli(self) -> dict[str, Any] | None:
        """The held-out stimuli and the brain similarity; None if no brain was the teacher."""
        path = self._intact("stimuli.json")
        record = read_json(path, RESUME_HINT)
        if record is not None and not _has_similarities(record):
            raise UserError(f"{path} is damaged: it lacks brain similarities", hint=RESUME_HINT)
        return record

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", 0))

    @property
    def label(self) -> str | None:
        return self.config.get("label") or None

    @property
    def method(self) -> str:
        """The same for runs that differ only in seed and path, or that share a label."""
        config = {key: value for key, value in self.config.items() if key not in SAME_METHOD}
        return self.label or json.dumps(config, sort_keys=True)

    @property
    def name(self) -> str:
        """The label, or the folder's name, that of its parent if it is one of several seeds."""
        path = self.path.resolve()
        is_seed = re.fullmatch(r"seed\d+", path.name)
        return self.label or (path.parent.name if is_seed else path.name)

    def key(self) -> str:
        """Return the SHA-256 of the settings and the parents' fingerprints.

        A checkpoint carries it. Settings that do not change the result do not count, so that equal
        runs have equal keys.
        """
        config = {k: v for k, v in self.config.items() if k not in SAME_METHOD - {"seed"}}
        parents = [[p["kind"], p["fingerprint"]] for p in self.provenance.get("parents", ())]
        return hashlib.sha256(json.dumps([config, parents], sort_keys=True).encode()).hexdigest()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the trained weights. UserError if they are missing or damaged."""
        if not self.weights.is_file():
            raise UserError(
                f"the run {self.path} holds no model.safetensors",
                hint="the run never finished; run its command again with --resume",
            )
        verify_file(self.weights, RESUME_HINT)
        return file_digest(self.weights)

    def verify(self) -> None:
        """Read every file. UserError if one is not as it was written."""
        if self.checkpoint.is_file():
            verify_zip(self.checkpoint, f"delete {self.path} and train again")
        for name in read_manifest(self.path, RESUME_HINT):
            verify_file(self.path / name, RESUME_HINT)
        self.predictions()

    def metrics(self) -> list[dict[str, str]]:
        """Return a row for each epoch, none if there are none yet. UserError if damaged."""
        path = self._intact("metrics.csv")
        return read_table(path, ("epoch", "validation_error"), RESUME_HINT)

    def timings(self) -> list[dict[str, str]]:
        """Return the times of each epoch, none if there are none. UserError if damaged."""
        return read_table(self._intact("timings.csv"), ("epoch",), RESUME_HINT)

    def predictions(self, epoch: str = "final") -> Predictions:
        """Return the test predictions of the final or best epoch. UserError if damaged."""
        assert epoch in EPOCHS, f"an epoch is one of {EPOCHS}, not {epoch}"
        path = Run.open_finished(self.path).path / "predictions.h5"
        verify_file(path, RESUME_HINT)
        return read_predictions(path, epoch, RESUME_HINT)

    def write_config(self, config: dict[str, Any]) -> None:
        given = {key: value for key, value in config.items() if value is not None}
        write_text(self.path / "config.toml", tomli_w.dumps(given))

    def write_provenance(self, record: dict[str, Any]) -> None:
        text = format_json({"format": FORMAT, "version": VERSION} | record)
        write_text(self.path / "provenance.json", text)

    def write_stimuli(self, record: dict[str, Any]) -> None:
        write_text(self.path / "stimuli.json", format_json(record))

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics.csv, and timings.csv with the columns that differ between equal runs."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        times = [column for column in columns if column in TIMINGS]
        others = [column for column in columns if column not in TIMINGS]
        write_text(self.path / "metrics.csv", format_table(rows, others))
        if times:
            write_text(self.path / "timings.csv", format_table(rows, ["epoch", *times]))

    def write_predictions(
        self,
        digests: np.ndarray,
        labels: np.ndarray,
        logits: dict[str, np.ndarray],
        digest_kind: str = "pixels",
    ) -> None:
        """Finish the run: write checksums, then predictions. `logits` (n, classes) by epoch."""
        for name in FILES:  # a resumed run does not write the times of epochs before a kill again
            remove_partials(self.path / name)
        data = format_predictions(digests, labels, logits, digest_kind)
        skip = {MANIFEST, "predictions.h5", self.checkpoint.name}
        names = [name for name in FILES if name not in skip and (self.path / name).is_file()]
        sums = {name: file_digest(self.path / name) for name in names}
        sums["predictions.h5"] = hashlib.sha256(data).hexdigest()
        write_text(self.path / MANIFEST, format_manifest(sums))
        atomic_write(self.path / "predictions.h5", data)

    def remove(self) -> None:
        """Remove the run's files, and its folder if nothing else is in it."""
        for path in (self.path / name for name in FILES):
            remove_partials(path)
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    def _intact(self, name: str) -> Path:
        """Return the path of a file. UserError if a finished run's file has changed.

        An unfinished run may have the checksums of an earlier attempt, which do not count.
        """
        path = self.path / name
        if self.finished and (path.is_file() or not path.exists()):
            verify_file(path, RESUME_HINT)
        return path


def _has_parents(record: dict[str, Any]) -> bool:
    """Return whether the parents in a provenance record are as they are written."""
    keys, parents = {"kind", "path", "fingerprint"}, record.get("parents", [])
    return isinstance(parents, list) and all(
        isinstance(parent, dict) and keys <= parent.keys() for parent in parents
    )


def _has_similarities(record: dict[str, Any]) -> bool:
    """Return whether a record of stimuli.json is as it is written."""
    rows, stimuli = record.get("brain_similarity", []), record.get("stimuli", {})
    return (
        isinstance(rows, list)
        and isinstance(stimuli, dict)
        and isinstance(stimuli.get("heldout", []), list)
        and all(isinstance(row, dict) and row.keys() >= SIMILARITY_KEYS for row in rows)
    )


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """Return the finished runs at or directly below the paths, each once."""
    runs: dict[Path, Run] = {}
    for path in paths:
        if (path / "config.toml").is_file():
            folders = [path]
        else:
            folders = sorted(file.parent for file in path.glob("*/config.toml"))
        if not folders:
            raise UserError(f"there is no run at or below {path}", hint=RUN_HINT)
        for folder in folders:
            runs.setdefault(folder.resolve(), Run.open_finished(folder))
    return list(runs.values())
