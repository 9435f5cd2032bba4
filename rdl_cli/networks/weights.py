"""Weights on disk: safetensors with the network's description, and files of other programs."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rdl_cli.core.checksum import verify_file, verify_zip
from rdl_cli.core.errors import UserError, first_line
from rdl_cli.core.files import atomic_write, file_digest
from rdl_cli.core.registry import NameSource
from rdl_cli.networks.factory import InputShape, build_network


class WeightsMetadata(NamedTuple):
    """The description from which a network and its preprocessing are built again."""

    network: str
    input_shape: str
    classes: str
    preprocessing: str


METADATA_KEY = "rdl"
"""The only key: safetensors writes several in random order, but equal weights need equal bytes."""

RECOPY_HINT = (
    "copy it again; or delete predictions.h5 beside it and repeat the run's command with --resume"
)


def save_network(network: nn.Module, path: Path, metadata: WeightsMetadata) -> None:
    """Write a network's weights and description. Tied weights are written under each name."""
    # copies, because safetensors refuses tensors that share memory
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    atomic_write(path, save(tensors, {METADATA_KEY: json.dumps(metadata._asdict())}))


def load_network(path: Path, trust: bool = False) -> tuple[nn.Module, WeightsMetadata]:
    """Return a saved network in evaluation mode, and its description.

    Raise UserError if the file is damaged or has no description of its network. A network of a
    user's function is built only with `trust`.
    """
    try:
        verify_file(path, RECOPY_HINT)
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"the weights {path} cannot be read: {error}", hint="make the run again"
        ) from error
    if not set(WeightsMetadata._fields) <= description.keys():
        raise UserError(
            f"the weights {path} have no description of their network",
            hint="pass them to train-teacher with --init",
        )
    metadata = WeightsMetadata(**{key: description[key] for key in WeightsMetadata._fields})
    shape = InputShape.parse(metadata.input_shape)
    source = NameSource(str(path), trust)
    network = build_network(metadata.network, shape, int(metadata.classes), source)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"the weights {path} do not fit the network `{metadata.network}`: {error}"
        ) from error
    return network.eval(), metadata


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of the weights file of a run, or of a file."""
    return file_digest(_weights_file(path))


def _weights_file(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


class StateDict(NamedTuple):
    """Tensors by name, and how they were taken out of their file, "" if they were bare."""

    tensors: dict[str, Tensor]
    unwrapped: str = ""


def read_state_dict(path: Path) -> StateDict:
    """Return the tensors of a run, a .safetensors file, or a .pt/.pth/.ckpt file of a state dict.

    The state dict may be an entry (`state_dict`, `model`, ...) among others, and its names may have
    the prefixes of wrappers (`module.`, ...). Nothing but tensors and numbers is unpickled.
    """
    file = _weights_file(path)
    if not file.is_file():
        raise UserError(
            f"there are no weights at {file}",
            hint="--init takes a finished run, a .safetensors file or a .pt state dict",
        )
    if file.suffix == ".safetensors":
        try:
            verify_file(file, RECOPY_HINT)
            return _strip_prefixes(load_file(file))
        except (SafetensorError, OSError) as error:
            raise UserError(f"the weights {file} cannot be read: {error}") from error
    verify_zip(file, "copy it again, or save it again")
    try:
        # NumPy numbers are harmless; checkpoints hold accuracies (torchvision's example script)
        with torch.serialization.safe_globals(_list_numpy_numbers()):
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler met
        raise UserError(
            f"the weights {file} cannot be read as a plain state dict: {_describe(error)}",
            hint="save them with torch.save(model.state_dict(), PATH) or as safetensors;"
            " nothing else is unpickled",
        ) from error
    entry = ""
    if not _is_state_dict(state) and isinstance(state, Mapping):
        entry = next((key for key in STATE_DICT_ENTRIES if _is_state_dict(state.get(key))), "")
        state = state.get(entry)
    if not _is_state_dict(state):
        raise UserError(
            f"{file} holds no state dict, bare or as {', '.join(STATE_DICT_ENTRIES)}",
            hint="save model.state_dict()",
        )
    stripped = _strip_prefixes(state)
    texts = [f"its entry `{entry}`" if entry else "", stripped.unwrapped]
    return StateDict(stripped.tensors, ", ".join(text for text in texts if text))


STATE_DICT_ENTRIES = ("state_dict", "model", "net", "model_state_dict", "ema", "state_dict_ema")
"""Where training scripts keep a state dict: Lightning and torchvision, timm, pytorch-cifar, ..."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""Of data parallelism, torch.compile and Lightning."""


def _is_state_dict(state: object) -> bool:
    return (
        isinstance(state, Mapping)
        and bool(state)
        and all(isinstance(value, Tensor) for value in state.values())
    )


def _strip_prefixes(tensors: Mapping[str, Tensor]) -> StateDict:
    """Return the tensors without the prefixes that all names share."""
    removed: list[str] = []
    tensors = dict(tensors)
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        removed.append(prefix)
    return StateDict(tensors, f"names without `{''.join(removed)}`" if removed else "")


def _list_numpy_numbers() -> list[Any]:
    """Return the types that NumPy's pickled numbers consist of."""
    scalar = np.float64(0).__reduce__()[0]
    old = (scalar, "numpy.core.multiarray.scalar")  # files of NumPy 1
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    return [scalar, old, np.dtype, *{type(np.dtype(kind)) for kind in kinds}]


def _describe(error: Exception) -> str:
    """Return the object that torch refused to unpickle, else its error without terminal codes."""
    if refused := re.search(r"GLOBAL (\S+)", str(error)):
        return f"they hold a pickled {refused[1]}"
    return re.sub(r"\x1b\[[0-9;]*m", "", first_line(error))


def load_matching(network: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copy tensors into every module whose names and shapes all match; return names copied and not.

    A module is copied as a whole, never its bias without its weights; `num_batches_tracked` does
    not count, since old files lack it. A readout for other classes, for example, is not copied.
    """
    own = network.state_dict()
    matches = {
        name: name in tensors and tensors[name].shape == tensor.shape
        for name, tensor in own.items()
    }
    incomplete = {
        _module_name(name)
        for name, match in matches.items()
        if not match and not name.endswith("num_batches_tracked")
    }
    copied = [
        name for name, match in matches.items() if match and _module_name(name) not in incomplete
    ]
    network.load_state_dict({name: tensors[name] for name in copied}, strict=False)
    return copied, [name for name in own if name not in copied]


def _module_name(name: str) -> str:
    return name.rpartition(".")[0]
