"""The run directory: what training leaves behind. No torch, so that comparing and showing start at once.

config.toml        resolved: `rdl train-student OUT --config config.toml` runs it again
provenance.json    whence it came
metrics.csv        a row per epoch
checkpoint.pt      to resume from; holds the rows, the last and the best-validation weights
stimuli.json       of a student of a brain: which stimuli were held out, and how like the brain it became
model.safetensors  the student alone, after the final epoch
predictions.h5     digest, labels; final/predicted, final/logits; best/... Written last: present means finished.
                   It holds the digests of the other files.
"""

import csv
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import h5py
import numpy as np
import tomli_w
from safetensors import SafetensorError, safe_open

from rdl_cli.core.checksum import OPEN, verify_checksum, write_checksum
from rdl_cli.core.errors import UserError, first_line
from rdl_cli.core.files import atomic_write, file_digest, write_text

EPOCHS = ("final", "best")
"""Whose weights: after the last epoch, or after the epoch that was best on validation images."""

RUN_FILES = ("model.safetensors", "config.toml", "provenance.json", "metrics.csv", "stimuli.json")
"""Files whose digests a finished run's predictions hold."""

SAME_METHOD = {"seed", "seeds", "label", "device", "data_root", "download"}
"""Settings that may differ between runs of one method."""


def seed_folder(out: Path, seed: int) -> Path:
    """Return the folder of one seed of several: OUT/seedN."""
    return out / f"seed{seed}"


class Predictions(NamedTuple):
    """What a run says of every test picture: `digests` S64 (n,), `labels` and `predicted` int64 (n,), `logits` float32 (n, classes)."""

    digests: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    logits: np.ndarray

    @property
    def errors(self) -> int:
        return int((self.predicted != self.labels).sum())


@dataclass(frozen=True)
class Run:
    path: Path

    @classmethod
    def open(cls, path: Path) -> "Run":
        """The run at `path`, finished or not. UserError where there is none."""
        if not path.exists():
            raise UserError(f"there is no run at {path}")
        if not (path / "config.toml").is_file():
            raise UserError(
                f"{path} is not a run: it has no config.toml",
                hint="a run is a folder that train-teacher or train-student made",
            )
        run = cls(path)
        if not run.config:
            raise UserError(
                f"{path} is not a run: its config.toml is empty",
                hint="choose another, or make it again at another path",
            )
        return run

    @classmethod
    def open_finished(cls, path: Path) -> "Run":
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

    @cached_property
    def config(self) -> dict[str, Any]:
        try:
            return tomllib.loads((self.path / "config.toml").read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path / 'config.toml'} is damaged: {error}") from error

    @cached_property
    def provenance(self) -> dict[str, Any]:
        path = self.path / "provenance.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"{self.path} has no provenance.json", hint="the run is incomplete; make it again"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged: {error}") from error
        if not isinstance(found, dict):
            raise UserError(f"{path} is damaged: it holds a {type(found).__name__}, not a record")
        if not all(
            {"kind", "path", "fingerprint"} <= set(parent) for parent in found.get("parents", ())
        ):
            raise UserError(
                f"{path} is damaged: it names a parent without its kind, path or fingerprint"
            )
        return found

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", 0))

    @property
    def label(self) -> str | None:
        return self.config.get("label") or None

    @property
    def method(self) -> str:
        """The same for runs that differ only in seed and path, or that share a label."""
        return self.label or json.dumps(
            {k: v for k, v in self.config.items() if k not in SAME_METHOD}, sort_keys=True
        )

    @property
    def name(self) -> str:
        """What to call it: its label, or its folder (the folder above where it is one seed of several)."""
        path = self.path.resolve()
        return self.label or (path.parent.name if path.name.startswith("seed") else path.name)

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    def fingerprint(self) -> str:
        """SHA-256 of the trained weights: what a store made from this run remembers. UserError where they are missing or damaged."""
        if not self.weights.is_file():
            raise UserError(
                f"the run {self.path} holds no model.safetensors",
                hint="the run never finished; run its command again with --resume",
            )
        verify_checksum(
            self.weights,
            "delete predictions.h5 beside it and run the run's command again with --resume",
        )
        return file_digest(self.weights)

    def verify(self) -> tuple[str, ...]:
        """Read every file. UserError where one is not what was written; the names of those of which nothing is known, which are older."""
        again = f"delete {self.path} and train again"
        if (self.path / "checkpoint.pt").is_file():  # a run of no epochs has none
            self.check_checkpoint()
        if not self.finished:
            return ()
        sealed = {
            path.name: verify_checksum(path, again)
            for path in (self.path / "predictions.h5", self.weights)
            if path.is_file()
        }
        self.predictions()
        with h5py.File(self.path / "predictions.h5") as file:
            digests: dict[str, str] = json.loads(file.attrs.get("files", "{}"))
        for name, digest in digests.items():
            path = self.path / name
            if not path.is_file() or file_digest(path) != digest:
                raise UserError(
                    f"{path} is {'damaged: it is not what was written' if path.is_file() else 'gone'}",
                    hint=again,
                )
        known = {*digests, *(name for name, has in sealed.items() if has)}
        unknown = [
            name
            for name in ("predictions.h5", *RUN_FILES)
            if (self.path / name).is_file() and name not in known
        ]
        if self.weights.name in unknown:
            try:
                safe_open(self.weights, "numpy").keys()
            except (SafetensorError, OSError) as error:
                raise UserError(
                    f"{self.weights} is damaged: {first_line(error)}", hint=again
                ) from error
        return tuple(unknown)

    def check_checkpoint(self) -> None:
        """UserError where a bit of checkpoint.pt has flipped: torch.load reads over it, though the file has checksums (100 MB: 0.05 s)."""
        path = self.path / "checkpoint.pt"
        try:
            with ZipFile(path) as file:
                bad = file.testzip()
        except (
            OSError,
            BadZipFile,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
        ) as error:
            raise UserError(
                f"{path} is damaged: {first_line(error)}",
                hint=f"delete {self.path} and train again",
            ) from error
        if bad:
            raise UserError(
                f"{path} is damaged: {bad} is not what was written",
                hint=f"delete {self.path} and train again",
            )

    def metrics(self) -> list[dict[str, str]]:
        """A row for every epoch, none where the run has none. UserError where the table is damaged."""
        path = self.path / "metrics.csv"
        if not path.is_file():
            return []
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                float(row["validation_error"]), float(row["epoch"])
        except (UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged: {first_line(error)}",
                hint="delete predictions.h5 beside it and run the run's command again with --resume",
            ) from error
        return rows

    @property
    def stimuli(self) -> dict[str, Any] | None:
        """How like a brain the student became, and over which stimuli; None where no brain was its teacher."""
        path = self.path / "stimuli.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged: {error}") from error

    def predictions(self, epoch: str = "final") -> Predictions:
        """Test predictions with the weights of the final or the best-validation epoch. UserError where they are missing or damaged."""
        assert epoch in EPOCHS, f"an epoch is one of {EPOCHS}, not {epoch}"
        path = Run.open_finished(self.path).path / "predictions.h5"
        again = "delete it and run the run's command again with --resume"
        try:
            verify_checksum(path, again)
            with h5py.File(path) as file:
                group = file[epoch]
                found = Predictions(
                    file["digest"][()],
                    file["labels"][()],
                    group["predicted"][()],
                    group["logits"][()],
                )
        except (OSError, KeyError, RuntimeError) as error:
            raise UserError(f"{path} is damaged: {error}", hint=again) from error
        if not len(found.digests) == len(found.labels) == len(found.predicted) == len(found.logits):
            raise UserError(f"{path} is damaged: its parts differ in length", hint=again)
        return found

    def write_config(self, config: dict[str, Any]) -> None:
        write_text(
            self.path / "config.toml",
            tomli_w.dumps({k: v for k, v in config.items() if v is not None}),
        )

    def write_provenance(self, record: dict[str, Any]) -> None:
        write_text(
            self.path / "provenance.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        )

    def write_stimuli(self, record: dict[str, Any]) -> None:
        write_text(
            self.path / "stimuli.json",
            json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        )

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with (
            atomic_write(self.path / "metrics.csv") as beside,
            beside.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def write_predictions(
        self, digests: np.ndarray, labels: np.ndarray, logits: dict[str, np.ndarray]
    ) -> None:
        """The last act of a run: from now on it is finished. `logits` (n, classes) by epoch name."""
        with atomic_write(self.path / "predictions.h5") as beside:
            with h5py.File(beside, "w") as file:
                beside_it = {
                    name: file_digest(self.path / name)
                    for name in RUN_FILES
                    if (self.path / name).is_file()
                }
                file.attrs.update(
                    format="rdl-predictions", seal=np.bytes_(OPEN), files=json.dumps(beside_it)
                )
                file["digest"], file["labels"] = digests, labels
                for epoch, values in logits.items():
                    group = file.create_group(epoch)
                    group["predicted"], group["logits"] = (
                        values.argmax(1),
                        values.astype(np.float32),
                    )
            write_checksum(beside)


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """The finished runs at or below the paths, each once: a folder of seeds stands for its seeds."""
    found: dict[Path, Run] = {}
    for path in paths:
        here = (
            [path]
            if (path / "config.toml").is_file()
            else sorted(p.parent for p in path.glob("*/config.toml"))
        )
        if not here:
            raise UserError(
                f"there is no run at or below {path}",
                hint="a run is a folder that train-teacher or train-student made",
            )
        for each in here:
            found.setdefault(each.resolve(), Run.open_finished(each))
    return list(found.values())
