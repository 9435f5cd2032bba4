"""The checkpoint of a run in training. It belongs to one run, one epoch and one world size."""

import io
from typing import Any

import torch

from rdl_cli.core.checksum import verify_zip
from rdl_cli.core.errors import UserError, first_line
from rdl_cli.core.files import atomic_write
from rdl_cli.runs.run import Run


def save_checkpoint(run: Run, state: dict[str, Any], world_size: int) -> None:
    """Write the state after an epoch, with the run's key and world size."""
    buffer = io.BytesIO()
    torch.save(state | {"run": run.key(), "world_size": world_size}, buffer)
    atomic_write(run.checkpoint, buffer.getbuffer())


def load_checkpoint(run: Run, world_size: int) -> dict[str, Any] | None:
    """Return the state to go on from, None if there is none.

    UserError if the file is damaged, or belongs to another run, an earlier epoch, or another
    number of processes.
    """
    path = run.checkpoint
    if not path.is_file():
        return None
    hint = f"delete {run.path} and train again"
    verify_zip(path, hint)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        key, size, epoch = state["run"], state["world_size"], state["epoch"]
    except Exception as error:  # torch raises whatever its unpickler meets
        raise UserError(f"{path} is damaged: {first_line(error)}", hint=hint) from error
    if key != run.key():
        raise UserError(f"{path} belongs to another run", hint=hint)
    if size != world_size:
        raise UserError(
            f"{path} was written by {size} processes; this is {world_size}",
            hint="resume with the same number of processes",
        )
    if (logged := len(run.metrics())) > epoch + 1:
        raise UserError(
            f"{path} is of epoch {epoch + 1}; metrics.csv has {logged} epochs", hint=hint
        )
    return state
