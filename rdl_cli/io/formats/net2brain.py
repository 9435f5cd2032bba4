"""Net2Brain's RDMs: one layer in one .npz or .pt, with the stimuli's names."""

from pathlib import Path

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import Container, read_npz
from rdl_cli.io.raw_array import READERS, RawArray
from rdl_cli.io.torch_files import read_tensors


@READERS.register("net2brain")
def read_net2brain(path: Path, container: Container) -> list[RawArray] | None:
    """Read `rdm`, `stimuli_name` and `layer_name`.

    `meta` (the distance) is a pickled object in the .npz: it is skipped, with a note.
    """
    objects: list[str] = []
    if container == "torch":
        content = read_tensors(path)
        if "rdm" not in content:
            raise UserError(
                f"{path} holds {', '.join(content) or 'nothing with a name'}, and no `rdm`",
                hint="of .pt files only Net2Brain's RDMs are known",
            )
    elif container == "npz":
        content, objects = read_npz(path, container)
        if "rdm" not in content or not {"stimuli_name", "layer_name"} & content.keys():
            return None
    else:
        return None
    stimuli = content.get("stimuli_name")
    meta = content.get("meta")
    note = f"pickled, so not read: {', '.join(objects)} (pass --distance for Net2Brain's meta)"
    return [
        RawArray(
            str(content.get("layer_name", path.stem)),
            np.asarray(content["rdm"]),
            distance=str(meta.get("distance", "")) if isinstance(meta, dict) else "",
            stimuli=None if stimuli is None else tuple(map(str, np.asarray(stimuli).ravel())),
            notes=(note,) if objects else (),
        )
    ]
