"""Meadows' downloads of arrangement tasks: .mat of one or all participants, and .json trees."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io import matlab as matlab_files
from rdl_cli.io.file_types import Container, read_text
from rdl_cli.io.raw_array import READERS, RawArray

FILE_NAME = re.compile(r"Meadows_(?P<experiment>.+)_v_v[^_]+_(?P<rest>.+)_(?:1D|2D|tree)$")


@READERS.register("meadows")
def read_meadows(path: Path, container: Container) -> list[RawArray] | None:
    """Read Euclidean distances of arrangements; participant and task are in the file's name."""
    if container == "json":
        return _read_tree(path)
    if container != "matlab":
        return None
    variables = matlab_files.read_variables(path)
    match = FILE_NAME.match(path.stem)
    experiment = match["experiment"] if match else path.stem
    rest = match["rest"].split("_") if match else []
    arrays = []
    for variable, array in variables.items():
        if not variable.startswith("rdmutv"):
            continue
        participant = variable.removeprefix("rdmutv").removeprefix("_")
        stimuli = matlab_files.to_strings(
            variables.get(f"stimuli_{participant}" if participant else "stimuli")
        )
        if participant:
            region, subject = "_".join(rest) or experiment, participant.replace("_", "-")
        else:
            region = f"{experiment} task {rest[-1]}" if len(rest) > 1 else experiment
            subject = rest[0] if rest else path.stem
        if not isinstance(array, np.ndarray) or stimuli is None:
            raise UserError(f"{path}: `{variable}` comes without its `stimuli`")
        arrays.append(
            RawArray(
                region, array.ravel(), ("pair",), (subject,), distance="euclidean", stimuli=stimuli
            )
        )
    return arrays or None


def _read_tree(path: Path) -> list[RawArray] | None:
    tree = json.loads(read_text(path))
    if not isinstance(tree, dict):
        return None
    # a download of one task has the task itself at the top
    tasks = tree.get("tasks", [tree] if "rdm" in tree else None)
    if not isinstance(tasks, list):
        return None
    match = FILE_NAME.match(path.stem)
    participant = match["rest"] if match else path.stem
    if match and "tasks" not in tree:
        participant = participant.rpartition("_")[0] or participant
    return [
        _read_task(task, number, participant)
        for number, task in enumerate(filter(_is_arrangement, tasks), 1)
    ]


def _is_arrangement(task: dict[str, Any]) -> bool:
    return task.get("task", {}).get("task_type") == "multiarrange" and "rdm" in task


def _read_task(task: dict[str, Any], number: int, participant: str) -> RawArray:
    return RawArray(
        task["task"].get("name") or f"task {number}",
        np.asarray(task["rdm"], dtype=np.float64).ravel(),
        ("pair",),
        (participant,),
        distance="euclidean",
        stimuli=tuple(stimulus["name"] for stimulus in task["stimuli"]),
    )
