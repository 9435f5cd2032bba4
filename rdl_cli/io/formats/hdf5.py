"""HDF5 that somebody wrote without a tool for RDMs: squares, stacks and upper triangles under any name, in groups or not."""

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
from rdl_cli.io.read import ANY, READERS, RawArray


@READERS.register(ANY)
def plain(path: Path, container: Container) -> list[RawArray] | None:
    """A region for each dataset that is n × n, k × n × n or k × pairs; a list of n strings names the stimuli. Asked after all others.

    UserError for a store of our own, which needs no import.
    """
    if container != "hdf5":
        return None
    with open_hdf5(path) as file:
        if to_text(file.attrs.get("format", "")) == STORE_FORMAT:
            raise UserError(
                f"{path} is a store already", hint="use it as it is; rdl show says what it holds"
            )
        datasets: dict[tuple[str, ...], h5py.Dataset] = {}
        file.visititems(
            lambda name, item: datasets.update(
                {tuple(name.split("/")): item} if isinstance(item, h5py.Dataset) else {}
            )
        )
        names = dict(zip(unique_names(datasets), datasets.values(), strict=True))
        texts = {
            name: tuple(map(to_text, read_dataset(dataset).ravel()))
            for name, dataset in names.items()
            if (h5py.check_string_dtype(dataset.dtype) or dataset.dtype.kind == "S")
            and dataset.ndim == 1
        }
        numbers = {
            name: dataset
            for name, dataset in names.items()
            if dataset.dtype.kind in "fiub" and dataset.size
        }
        other = ", ".join(
            f"{name} {' × '.join(map(str, each.shape))}"
            for name, each in numbers.items()
            if not _fits(each.shape)
        )
        notes = (f"not of a shape that RDMs have, skipped: {other}",) if other else ()
        return [
            RawArray(name, read_dataset(dataset), texts=texts, certain=False, notes=notes)
            for name, dataset in numbers.items()
            if _fits(dataset.shape)
        ] or None


def _fits(shape: tuple[int, ...]) -> bool:
    """Whether RDMs could have this shape."""
    lengths = [length for length in shape if length > 1]
    twice = len(set(lengths)) < len(lengths)
    return (twice and len(lengths) < 4) or (
        len(lengths) in (1, 2) and any((n_from_pairs(length) or 0) > 2 for length in lengths)
    )
