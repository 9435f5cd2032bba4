"""Read a network's layers during a forward pass."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Images, Logits, Reps
from rdl_cli.networks.factory import InputShape

LOGITS = "logits"
"""The name of a network's output as a layer."""


class _StopForward(Exception):
    """Ends a forward pass once all layers have been read."""


def forward_with_layers(
    model: nn.Module, images: Images, layers: Iterable[str]
) -> tuple[Logits, dict[str, Reps]]:
    """Return the logits, and the output of each named submodule (NCHW if it is spatial).

    Args:
        model: the network; `layers` are names of its submodules, or `logits`.
        images: as the network takes them, `n c h w`.
        layers: the layers to read.

    Returns:
        The logits `n classes`, and each layer's activations `n ...` by name.

    Raises:
        UserError: a layer did not run, ran twice or gives no tensor.

    Hooks are removed after the call. Activations are copies: an in-place ReLU or `+=` after the
    layer (torchvision's resnets have both) would otherwise change them.
    """
    layers = list(layers)
    submodules = [layer for layer in layers if layer != LOGITS]
    logits, activations = _run(model, images, submodules, stop=False)
    if not isinstance(logits, Tensor):  # torchvision's googlenet in training mode
        raise UserError(
            f"the network gives a {type(logits).__name__} in training, not a tensor of logits",
            hint="switch its auxiliary outputs off",
        )
    return logits, activations | ({LOGITS: logits} if LOGITS in layers else {})


def read_layers(model: nn.Module, images: Images, layers: Sequence[str]) -> dict[str, Reps]:
    """Return the activations of some layers by name; the forward pass ends after the last one.

    >>> model = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> read_layers(model, torch.ones(2, 1, 3, 3), ["0"])["0"].shape
    torch.Size([2, 9])
    """
    if LOGITS in layers:
        return forward_with_layers(model, images, layers)[1]
    return _run(model, images, layers, stop=True)[1]


def _run(
    model: nn.Module, images: Images, layers: Sequence[str], stop: bool
) -> tuple[Logits | None, dict[str, Reps]]:
    modules = dict(model.named_modules())
    activations: dict[str, Reps] = {}

    def add_hook(layer: str) -> RemovableHandle:
        def hook(_module: nn.Module, _args: tuple, out: Tensor) -> None:
            if not isinstance(out, Tensor):
                raise UserError(
                    f"the layer `{layer}` gives a {type(out).__name__}, not a tensor",
                    hint="use a layer inside or after it",
                )
            if layer in activations:
                raise UserError(
                    f"the layer `{layer}` runs more than once in a pass",
                    hint="use the block around it: rdl layers NETWORK",
                )
            activations[layer] = out.clone()
            if stop and len(activations) == len(layers):
                raise _StopForward

        return modules[layer].register_forward_hook(hook)

    handles = [add_hook(layer) for layer in layers]
    try:
        logits = model(images)
    except _StopForward:
        logits = None
    finally:
        for handle in handles:
            handle.remove()
    unused = [layer for layer in layers if layer not in activations]
    if unused:
        raise UserError(
            f"the layer `{unused[0]}` did not run in a forward pass",
            hint="list those that do: rdl layers NETWORK",
        )
    return logits, activations


def layer_shapes(model: nn.Module, shape: InputShape) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's activations for one image, in order of execution.

    Only layers that run exactly once and give a tensor; `logits` is last.
    """
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def add_hook(layer: str, module: nn.Module) -> RemovableHandle:
        def hook(_module: nn.Module, _args: tuple, out: object) -> None:
            shapes.setdefault(layer, []).append(
                tuple(out.shape[1:]) if isinstance(out, Tensor) and out.ndim > 1 else ()
            )

        return module.register_forward_hook(hook)

    handles = [add_hook(layer, module) for layer, module in model.named_modules() if layer]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(2, *shape, device=device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    once = {layer: runs[0] for layer, runs in shapes.items() if len(runs) == 1 and runs[0]}
    return once | {LOGITS: tuple(logits.shape[1:])}
