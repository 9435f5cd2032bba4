"""Net2Brain's RDMs: one layer in one .npz or .pt, with the stimuli's names."""

from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import CONVERT, Container, parser_errors, read_npz
from rdl_cli.io.read import READERS, RawArray


@READERS.register("net2brain")
def net2brain(path: Path, container: Container) -> list[RawArray] | None:
    """`rdm`, `stimuli_name` and `layer_name`. `meta` (the distance) is a pickled object in the .npz: it is skipped, and that is said."""
    objects: list[str] = []
    if container == "torch":
        held = _tensors(path)
        if "rdm" not in held:
            raise UserError(
                f"{path} holds {', '.join(held) or 'nothing that is named'}, and no `rdm`",
                hint="of .pt files only Net2Brain's RDMs are known",
            )
    elif container == "npz":
        held, objects = read_npz(path, container)
        if "rdm" not in held or not {"stimuli_name", "layer_name"} & held.keys():
            return None
    else:
        return None
    stimuli = (
        tuple(map(str, np.asarray(held["stimuli_name"]).ravel()))
        if "stimuli_name" in held
        else None
    )
    layer = str(held.get("layer_name", path.stem))
    meta = held.get("meta")
    distance = str(meta.get("distance", "")) if isinstance(meta, dict) else ""
    notes = (
        (
            f"pickled, so not read: {', '.join(objects)} (--distance says what Net2Brain's meta would)",
        )
        if objects
        else ()
    )
    return [
        RawArray(layer, np.asarray(held["rdm"]), distance=distance, stimuli=stimuli, notes=notes)
    ]


def _tensors(path: Path) -> dict[str, Any]:
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path} can't be opened without running what is pickled in it, or it is damaged",
            hint=CONVERT,
        ) from error
    with parser_errors(path, "a dictionary of tensors"):
        return {
            key: value.numpy() if isinstance(value, torch.Tensor) else value
            for key, value in held.items()
        }
