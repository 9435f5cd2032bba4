"""Weights on disk: safetensors that say which network they belong to, and reading those that others wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rdl_cli.core.checksum import verify_file, verify_zip
from rdl_cli.core.errors import UserError, first_line
from rdl_cli.core.files import atomic_write, file_digest
from rdl_cli.networks.factory import InputShape, build_network


class WeightsMetadata(NamedTuple):
    """What weights are of: enough to build their network again and to show it pictures as in training."""

    network: str
    pictures: str
    classes: str
    preprocessing: str


METADATA_KEY = "rdl"
"""The one key of the metadata: safetensors writes several in random order, and equal weights are to be equal bytes."""

RECOPY_HINT = "copy it again from where it was whole; or delete predictions.h5 beside it and run the run's command again with --resume"


def save_network(network: nn.Module, path: Path, about: WeightsMetadata) -> None:
    # copies, because safetensors takes no tensor twice: tied weights are kept under each of their names
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    atomic_write(path, save(tensors, {METADATA_KEY: json.dumps(about._asdict())}))


def load_network(path: Path) -> tuple[nn.Module, WeightsMetadata]:
    """The network that `save` wrote, in evaluation mode. UserError where the file is damaged or says nothing of its network."""
    try:
        verify_file(path, RECOPY_HINT)
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"the weights {path} cannot be read: {error}", hint="make the run again"
        ) from error
    if not set(WeightsMetadata._fields) <= said.keys():
        raise UserError(
            f"the weights {path} do not say which network they are of",
            hint="give them to train-teacher with --init",
        )
    about = WeightsMetadata(**{field: said[field] for field in WeightsMetadata._fields})
    network = build_network(about.network, InputShape.read(about.pictures), int(about.classes))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"the weights {path} do not fit the network `{about.network}`: {error}"
        ) from error
    return network.eval(), about


def weights_digest(path: Path) -> str:
    """SHA-256 of the weights of a run, or in a file."""
    return file_digest(_file(path))


def _file(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a run, a .safetensors file, or a .pt/.pth state dict (nothing else in it is unpickled)."""
    file = _file(path)
    if not file.is_file():
        raise UserError(
            f"there are no weights at {file}",
            hint="--init takes a finished run, a .safetensors file or a .pt state dict",
        )
    if file.suffix == ".safetensors":
        try:
            verify_file(file, RECOPY_HINT)
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"the weights {file} cannot be read: {error}") from error
    verify_zip(file, "copy it again, or save it again")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler met
        raise UserError(
            f"the weights {file} cannot be read as a plain state dict: {first_line(error)}",
            hint="save them with torch.save(model.state_dict(), PATH) or as safetensors; nothing else is unpickled",
        ) from error
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise UserError(f"{file} holds no state dict", hint="save model.state_dict()")
    return dict(found)


def load_matching(network: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copy the tensors of every module all of whose names and shapes fit; the names copied, and those left (a readout for other classes).

    A bias without its weights would be half of a module. The count of batches is left out of that: old files have none.
    """
    own = network.state_dict()
    fit = {
        name: name in tensors and tensors[name].shape == tensor.shape
        for name, tensor in own.items()
    }
    broken = {
        _module(name)
        for name, fits in fit.items()
        if not fits and not name.endswith("num_batches_tracked")
    }
    fitting = [name for name, fits in fit.items() if fits and _module(name) not in broken]
    network.load_state_dict({name: tensors[name] for name in fitting}, strict=False)
    return fitting, [name for name in own if name not in fitting]


def _module(name: str) -> str:
    return name.rpartition(".")[0]
