"""dnnbrain's .rdm.h5: upper triangles by brain region or layer, without names or distance."""

from pathlib import Path

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import Container, open_hdf5, read_dataset, to_text
from rdl_cli.io.raw_array import READERS, RawArray


@READERS.register("dnnbrain")
def read_dnnbrain(path: Path, container: Container) -> list[RawArray] | None:
    """Read a region from each dataset; the iterations of a dRDM (first axis) become sessions."""
    if container != "hdf5":
        return None
    with open_hdf5(path) as file:
        rdm_type = to_text(file.attrs.get("type", ""))
        if rdm_type not in ("bRDM", "dRDM"):
            return None
        if not len(file):
            raise UserError(f"{path} is a dnnbrain {rdm_type} without a region")
        arrays = {name: read_dataset(dataset) for name, dataset in file.items()}
    notes = ("iterations kept as sessions",) if rdm_type == "dRDM" else ()
    return [
        RawArray(
            name,
            array,
            ("session", "pair")[2 - array.ndim :] if array.ndim <= 2 else (),
            notes=notes,
        )
        for name, array in arrays.items()
    ]
