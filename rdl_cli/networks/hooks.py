"""Reading a network's layers while it runs."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Images, Logits, Reps
from rdl_cli.networks.factory import InputShape

LOGITS = "logits"
"""The tap that every network has: what it returns."""


class _StopForward(Exception):
    """Every wanted layer has been read; the rest of the forward pass is not needed."""


def forward_with_layers(
    model: nn.Module, images: Images, layers: Iterable[str]
) -> tuple[Logits, dict[str, Reps]]:
    """Logits, and what each named submodule gave for the images, as it gave it (NCHW where there is space).

    Hooks live for one call. A tap is a copy: an in-place ReLU or `+=` behind it (torchvision's resnets have both) would
    otherwise change it unseen. UserError for a layer that did not run, ran twice or gives no tensor.
    """
    layers = list(layers)
    logits, taps = _run(model, images, [layer for layer in layers if layer != LOGITS], stop=False)
    if not isinstance(
        logits, Tensor
    ):  # torchvision's googlenet has auxiliary outputs while it trains, and none when it is asked
        raise UserError(
            f"the network gives a {type(logits).__name__} in training, not a tensor of logits",
            hint="switch its auxiliary outputs off",
        )
    return logits, taps | ({LOGITS: logits} if LOGITS in layers else {})


def read_layers(model: nn.Module, images: Images, layers: Sequence[str]) -> dict[str, Reps]:
    """The layers alone: the forward pass ends after the last that is wanted."""
    if LOGITS in layers:
        return forward_with_layers(model, images, layers)[1]
    return _run(model, images, layers, stop=True)[1]


def _run(
    model: nn.Module, images: Images, layers: Sequence[str], stop: bool
) -> tuple[Logits | None, dict[str, Reps]]:
    modules = dict(model.named_modules())
    taps: dict[str, Reps] = {}

    def keep(layer: str) -> nn.modules.module.RemovableHandle:
        def hook(_module: nn.Module, _args: tuple, out: Tensor) -> None:
            if not isinstance(out, Tensor):
                raise UserError(
                    f"the layer `{layer}` gives a {type(out).__name__}, not a tensor",
                    hint="tap a layer inside or after it",
                )
            if layer in taps:
                raise UserError(
                    f"the layer `{layer}` runs more than once in a pass",
                    hint="tap the block around it: rdl layers NETWORK",
                )
            taps[layer] = out.clone()
            if stop and len(taps) == len(layers):
                raise _StopForward

        return modules[layer].register_forward_hook(hook)

    handles = [keep(layer) for layer in layers]
    try:
        logits = model(images)
    except _StopForward:
        logits = None
    finally:
        for handle in handles:
            handle.remove()
    silent = [layer for layer in layers if layer not in taps]
    if silent:
        raise UserError(
            f"the layer `{silent[0]}` did not run in a forward pass",
            hint="list those that do: rdl layers NETWORK",
        )
    return logits, taps


def layer_shapes(model: nn.Module, pictures: InputShape) -> dict[str, tuple[int, ...]]:
    """Every layer that runs exactly once and gives a tensor, with the shape of what it gives for one picture, in order of running."""
    found: dict[str, list[tuple[int, ...]]] = {}

    def keep(layer: str, module: nn.Module) -> nn.modules.module.RemovableHandle:
        def hook(_module: nn.Module, _args: tuple, out: object) -> None:
            found.setdefault(layer, []).append(
                tuple(out.shape[1:]) if isinstance(out, Tensor) and out.ndim > 1 else ()
            )

        return module.register_forward_hook(hook)

    handles = [keep(layer, module) for layer, module in model.named_modules() if layer]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(2, *pictures, device=device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    once = {layer: seen[0] for layer, seen in found.items() if len(seen) == 1 and seen[0]}
    return once | {LOGITS: tuple(logits.shape[1:])}
