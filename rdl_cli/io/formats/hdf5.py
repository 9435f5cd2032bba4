"""HDF5 that no known tool wrote: squares, stacks and upper triangles under any name."""

from pathlib import Path

import h5py

from rdl_cli.core.errors import UserError
from rdl_cli.io.axes import n_from_pairs
from rdl_cli.io.file_types import (
    STORE_FORMAT,
    Container,
    open_hdf5,
    read_dataset,
    to_text,
    unique_names,
)
from rdl_cli.io.raw_array import FALLBACK, READERS, RawArray


@READERS.register(FALLBACK)
def read_hdf5(path: Path, container: Container) -> list[RawArray] | None:
    """Read each dataset that is n × n, k × n × n or k × pairs; n strings name the stimuli.

    UserError for a store of our own, which needs no import.
    """
    if container != "hdf5":
        return None
    with open_hdf5(path) as file:
        if to_text(file.attrs.get("format", "")) == STORE_FORMAT:
            raise UserError(
                f"{path} is a store already",
                hint=f"use it as it is; rdl show {path} lists its layers",
            )
        datasets = list_datasets(file)
        texts = {
            name: tuple(map(to_text, read_dataset(dataset).ravel()))
            for name, dataset in datasets.items()
            if (h5py.check_string_dtype(dataset.dtype) or dataset.dtype.kind == "S")
            and dataset.ndim == 1
        }
        numeric = {
            name: dataset
            for name, dataset in datasets.items()
            if dataset.dtype.kind in "fiub" and dataset.size
        }
        skipped = ", ".join(
            f"{name} {' × '.join(map(str, dataset.shape))}"
            for name, dataset in numeric.items()
            if not _can_be_rdms(dataset.shape)
        )
        notes = (f"not of a shape that RDMs have, skipped: {skipped}",) if skipped else ()
        return [
            RawArray(name, read_dataset(dataset), texts=texts, is_rdm=False, notes=notes)
            for name, dataset in numeric.items()
            if _can_be_rdms(dataset.shape)
        ] or None


def list_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return all datasets of a file by unique names."""
    datasets: dict[tuple[str, ...], h5py.Dataset] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[tuple(name.split("/"))] = item

    file.visititems(add)
    return dict(zip(unique_names(datasets), datasets.values(), strict=True))


def _can_be_rdms(shape: tuple[int, ...]) -> bool:
    """Return whether RDMs can have this shape."""
    lengths = [length for length in shape if length > 1]
    has_square = len(set(lengths)) < len(lengths) < 4
    has_pairs = any((n_from_pairs(length) or 0) > 2 for length in lengths)
    return has_square or (len(lengths) in (1, 2) and has_pairs)
