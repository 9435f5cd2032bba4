"""dnnbrain's .rdm.h5: upper triangles by region of a brain or by layer of a network; no names, no measure."""

from pathlib import Path

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import Container, open_hdf5, read_dataset, to_text
from rdl_cli.io.read import READERS, RawArray


@READERS.register("dnnbrain")
def dnnbrain(path: Path, container: Container) -> list[RawArray] | None:
    """A region for each dataset; a dRDM's iterations (its first axis) are kept as sessions."""
    if container != "hdf5":
        return None
    with open_hdf5(path) as file:
        type_ = to_text(file.attrs.get("type", ""))
        if type_ not in ("bRDM", "dRDM"):
            return None
        if not len(file):
            raise UserError(f"{path} is a dnnbrain {type_} without a region")
        arrays = {name: read_dataset(dataset) for name, dataset in file.items()}
    note = ("iterations kept as sessions",) if type_ == "dRDM" else ()
    return [
        RawArray(
            name,
            array,
            ("session", "pair")[2 - array.ndim :] if array.ndim <= 2 else (),
            notes=note,
        )
        for name, array in arrays.items()
    ]
