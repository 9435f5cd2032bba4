"""How a job ended. A failure is kept beside the run, as `.NAME.failed.json`, until it is redone."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rdl_cli.core.files import make_folder, write_text


@dataclass(frozen=True)
class Outcome:
    """The end of a job, as plain data that any engine can send back.

    `claimed`: another process works on it. `may_retry` is False for a mistake in the settings.
    """

    state: Literal["done", "diverged", "claimed", "failed"]
    message: str = ""
    hint: str | None = None
    traceback: str = ""
    may_retry: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Failure:
    """Why a run has no result. `config` are the settings that it was begun with."""

    message: str
    diverged: bool
    config: dict[str, Any]


def write_failure(path: Path, failure: Failure) -> None:
    make_folder(path.parent)
    write_text(_failure_path(path), json.dumps(asdict(failure), indent=2) + "\n")


def read_failure(path: Path, config: dict[str, Any] | None = None) -> Failure | None:
    """Return the failure of the run at `path`; with a config, only one of the same settings."""
    try:
        record = json.loads(_failure_path(path).read_text(encoding="utf-8"))
        failure = Failure(str(record["message"]), bool(record["diverged"]), record["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return failure if config is None or failure.config == config else None


def remove_failure(path: Path) -> None:
    _failure_path(path).unlink(missing_ok=True)


def _failure_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.failed.json")
