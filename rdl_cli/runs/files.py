"""Read and format the text files of a run folder: JSON, TOML and CSV. UserError if damaged."""

import csv
import io
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdl_cli.core.errors import UserError, first_line


def read_toml(path: Path, hint: str) -> dict[str, Any]:
    """Return the settings in a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {first_line(error)}", hint=hint) from error


def read_json(path: Path, hint: str) -> dict[str, Any] | None:
    """Return the record in a JSON file, None if there is no file."""
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise UserError(f"{path} is a folder, pipe or device, not a file")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {first_line(error)}", hint=hint) from error
    if not isinstance(record, dict):
        raise UserError(
            f"{path} is damaged: it holds a {type(record).__name__}, not a record", hint=hint
        )
    return record


def format_json(record: dict[str, Any]) -> str:
    """Return a record as indented JSON."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_table(path: Path, numbers: Sequence[str], hint: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file, none if there is no file. `numbers` are required columns."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            [float(row[column]) for column in numbers]
            if None in row or None in row.values():
                raise ValueError("a line has another number of cells than the first")
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {first_line(error)}", hint=hint) from error
    return rows


def format_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Return some columns of rows as CSV; a cell that a row lacks is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
