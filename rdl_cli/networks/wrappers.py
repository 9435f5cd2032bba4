"""See through what other code wraps around networks and their outputs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def unwrap_network(network: nn.Module) -> nn.Module:
    """Return the network without the wrappers of torch.compile and data parallelism, at any depth.

    Hooks do not run inside compiled code or on replicas, and the wrappers rename every layer.
    """
    network = unwrap_module(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if (inner := unwrap_module(child)) is not child:
                setattr(parent, name, inner)
    return network


def unwrap_module(module: nn.Module) -> nn.Module:
    """Return a module without its own wrappers; those of its parts stay."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(module, parallel) or isinstance(getattr(module, "_orig_mod", None), nn.Module):
        module = module.module if isinstance(module, parallel) else module._orig_mod  # type: ignore[assignment]
    if getattr(module, "_compiled_call_impl", None) is not None:  # by module.compile()
        module._compiled_call_impl = None
    return module


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor of an output: itself, or of a tuple, list or dict; None without one.

    In a dict `logits` comes first: a loss often stands before it.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        items = [*([output["logits"]] if "logits" in output else []), *output.values()]
    elif isinstance(output, (tuple, list)):
        items = list(output)
    else:
        return None
    return next((t for item in items if (t := first_tensor(item)) is not None), None)
