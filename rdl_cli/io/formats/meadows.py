"""Meadows' downloads of arrangement tasks: .mat of one or of all participants, and .json trees."""

import json
import re
from pathlib import Path

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io import matlab as matlab_files
from rdl_cli.io.file_types import Container, parser_errors, read_text
from rdl_cli.io.read import READERS, RawArray

NAME = re.compile(r"Meadows_(?P<experiment>.+)_v_v[^_]+_(?P<rest>.+)_(?:1D|2D|tree)$")


@READERS.register("meadows")
def meadows(path: Path, container: Container) -> list[RawArray] | None:
    """Euclidean distances of arrangements; who and which task stand in the file's name, stimuli are file names."""
    if container == "json":
        return _tree(path)
    if container != "matlab" or not any(
        name.startswith("rdmutv") for name in matlab_files.list_variables(path)
    ):
        return None
    variables = matlab_files.read_variables(path)
    named = NAME.match(path.stem)
    experiment, rest = (named["experiment"], named["rest"].split("_")) if named else (path.stem, [])
    out = []
    for variable, array in variables.items():
        if not variable.startswith("rdmutv"):
            continue
        who = variable.removeprefix("rdmutv").removeprefix("_")
        stimuli = matlab_files.to_strings(variables.get(f"stimuli_{who}" if who else "stimuli"))
        if who:
            region, subject = "_".join(rest) or experiment, who.replace("_", "-")
        else:
            region, subject = (
                f"{experiment} task {rest[-1]}" if len(rest) > 1 else experiment,
                rest[0] if rest else path.stem,
            )
        if not isinstance(array, np.ndarray) or stimuli is None:
            raise UserError(f"{path}: `{variable}` comes without its `stimuli`")
        out.append(
            RawArray(
                region, array.ravel(), ("pair",), (subject,), distance="euclidean", stimuli=stimuli
            )
        )
    return out


def _tree(path: Path) -> list[RawArray] | None:
    with parser_errors(path, "JSON"):
        tree = json.loads(read_text(path))
    if not isinstance(tree, dict) or not isinstance(tree.get("tasks"), list):
        return None
    named = NAME.match(path.stem)
    subject = named["rest"] if named else path.stem
    with parser_errors(path, "a Meadows tree"):
        tasks = [
            task
            for task in tree["tasks"]
            if task.get("task", {}).get("task_type") == "multiarrange" and "rdm" in task
        ]
        return [
            RawArray(
                task["task"].get("name") or f"task {number}",
                np.asarray(task["rdm"], dtype=np.float64).ravel(),
                ("pair",),
                (subject,),
                distance="euclidean",
                stimuli=tuple(stimulus["name"] for stimulus in task["stimuli"]),
            )
            for number, task in enumerate(tasks, 1)
        ]
