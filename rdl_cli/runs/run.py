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

import csv
import hashlib
import io
import json
import re
import tomllib
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
from rdl_cli.core.errors import UserError, first_line
from rdl_cli.core.files import atomic_write, file_digest, remove_partials, write_text
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

TIMINGS = ("seconds", "images_per_second")
"""Columns of timings.csv."""

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
        try:
            return tomllib.loads((self.path / "config.toml").read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path / 'config.toml'} is damaged: {error}") from error

    @cached_property
    def provenance(self) -> dict[str, Any]:
        record = self._read_json("provenance.json")
        if record is None:
            raise UserError(
                f"{self.path} has no provenance.json", hint="the run is incomplete; train again"
            )
        keys = {"kind", "path", "fingerprint"}
        if not all(keys <= set(parent) for parent in record.get("parents", ())):
            raise UserError(
                f"{self.path / 'provenance.json'} is damaged: a parent has no kind, path or"
                " fingerprint"
            )
        return record

    @cached_property
    def stimuli(self) -> dict[str, Any] | None:
        """The held-out stimuli and the brain similarity; None if no brain was the teacher."""
        return self._read_json("stimuli.json")

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
        return self._read_table("metrics.csv", ("epoch", "validation_error"))

    def timings(self) -> list[dict[str, str]]:
        """Return the times of each epoch, none if there are none. UserError if damaged."""
        return self._read_table("timings.csv", ("epoch",))

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
        self._write_json("provenance.json", {"format": FORMAT, "version": VERSION} | record)

    def write_stimuli(self, record: dict[str, Any]) -> None:
        self._write_json("stimuli.json", record)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics.csv, and timings.csv with the columns that differ between equal runs."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        times = [column for column in columns if column in TIMINGS]
        self._write_table("metrics.csv", rows, [c for c in columns if c not in TIMINGS])
        if times:
            self._write_table("timings.csv", rows, ["epoch", *times])

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

    def _read_json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise UserError(f"{path} is a folder, pipe or device, not a file")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged: {error}", hint=RESUME_HINT) from error
        if not isinstance(record, dict):
            raise UserError(f"{path} is damaged: it holds a {type(record).__name__}, not a record")
        return record

    def _write_json(self, name: str, record: dict[str, Any]) -> None:
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        write_text(self.path / name, f"{text}\n")

    def _read_table(self, name: str, numbers: tuple[str, ...]) -> list[dict[str, str]]:
        path = self.path / name
        if not path.is_file():
            return []
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                [float(row[column]) for column in numbers]
        except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged: {first_line(error)}", hint=RESUME_HINT) from error
        return rows

    def _write_table(self, name: str, rows: list[dict[str, Any]], columns: list[str]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / name, text.getvalue())


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
