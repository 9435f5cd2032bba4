"""Read a network's layers during a forward pass.

A layer's first axis is made the batch. `relu:2` is the second run of a module that runs several
times in a pass.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.patterns import select_names
from rdl_cli.core.tensor_types import Images, Logits, Reps
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.wrappers import first_tensor, unwrap_module

LOGITS = "logits"
"""The name of a network's output as a layer."""

UNSTABLE = 1e-3
"""Relative difference between two passes that rounding does not explain."""


class LayerShapes(dict[str, tuple[int, ...]]):
    """The shape of each layer's activations for one image, in order of execution; `logits` last.

    `modules` is the name of each layer's module, and `axes` the axis of the batch in its output.
    `refused` is the fact and the hint of the error for each module that is no layer.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
        super().__init__(shapes or {})
        self.modules: dict[str, str] = {}
        self.axes: dict[str, int] = {}
        self.refused: dict[str, tuple[str, str]] = {}

    def explain(self, layer: str) -> None:
        """Raise UserError if a module of this name is no layer, with the reason."""
        if layer not in self and layer in self.refused:
            raise self.error(layer)

    def error(self, layer: str) -> UserError:
        """Return the error of a layer that cannot be read, with the reason."""
        fact, hint = self.refused.get(layer, _never_runs(layer))
        return UserError(fact, hint=hint)


_KNOWN_SHAPES: "WeakKeyDictionary[nn.Module, dict[Any, LayerShapes]]" = WeakKeyDictionary()
"""Shapes by network and input: found out once, then read in every step."""


class _StopForward(Exception):
    """Ends a forward pass once all layers have been read."""


def forward_with_layers(
    model: nn.Module, images: Images, layers: Iterable[str]
) -> tuple[Logits, dict[str, Reps]]:
    """Return the logits, and the output of each named layer (NCHW if it is spatial).

    Args:
        model: the network; `layers` are names of its submodules, or `logits`.
        images: as the network takes them, `n c h w`.
        layers: the layers to read.

    Returns:
        The logits `n classes`, and each layer's activations `n ...` by name.

    Raises:
        UserError: a layer does not run, or is not of one row an image.

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


def layer_shapes(model: nn.Module, shape: InputShape) -> LayerShapes:
    """Return the shape of each layer's activations for one image, in order of execution.

    A layer's output grows with the number of images along exactly one axis, which two passes show.
    Weights and position tables do not, and are no layers.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return _find_shapes(model, torch.zeros(1, *shape, device=device))


def select_layers(
    patterns: Iterable[str], shapes: dict[str, tuple[int, ...]], what: str = "layer"
) -> list[str]:
    """Return the layers that names and globs match, in the order of the patterns.

    UserError if a pattern matches none: with the reason, if it names a module that is no layer.
    """
    patterns = list(patterns)
    if isinstance(shapes, LayerShapes):
        for pattern in patterns:
            shapes.explain(pattern)
    return select_names(patterns, list(shapes), what)


def find_unstable_layers(model: nn.Module, shape: InputShape, layers: Iterable[str]) -> list[str]:
    """Return the layers that give other numbers for the same images in a second pass.

    Dropout that is left on does, and so do batch-norm layers that use the statistics of the batch.
    """
    layers = list(layers)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(3, *shape, generator=rng).to(device)
    with _evaluation(model):
        first, second = (read_layers(model, part, layers) for part in (images[:2], images))
    return [
        layer
        for layer in layers
        if not torch.allclose(
            first[layer].float(),
            second[layer][:2].float(),
            rtol=0,
            atol=UNSTABLE * float(first[layer].float().abs().nan_to_num(0, 0, 0).max()),
            equal_nan=True,
        )
    ]


def _run(
    model: nn.Module, images: Images, layers: Sequence[str], stop: bool
) -> tuple[Logits | None, dict[str, Reps]]:
    model = unwrap_module(model)
    shapes = _find_shapes(model, images[:1])
    for layer in layers:
        if layer not in shapes:
            raise shapes.error(layer)
    activations: dict[str, Reps] = {}
    runs: dict[str, int] = {}

    def hook(name: str, output: Any) -> None:
        runs[name] = runs.get(name, 0) + 1
        layer = name if name in layers else f"{name}:{runs[name]}"
        if layer not in layers:
            return
        if layer in activations:
            raise UserError(f"the layer `{name}` runs more than once in a pass in training")
        reps, axis = first_tensor(output), shapes.axes[layer]
        assert reps is not None, "a layer without a tensor is refused above"
        activations[layer] = reps.clone() if not axis else reps.movedim(axis, 0).contiguous()
        if stop and len(activations) == len(layers):
            raise _StopForward

    with _hooks(model, dict.fromkeys(shapes.modules[layer] for layer in layers), hook):
        try:
            logits = model(images)
        except _StopForward:
            logits = None
    for layer in layers:
        if layer not in activations:
            raise UserError(
                f"the layer `{layer}` did not run in a forward pass in training",
                hint="use a layer that runs in training and in evaluation",
            )
    return logits, activations


def _never_runs(layer: str) -> tuple[str, str]:
    """Return the fact and the hint of an error."""
    return (
        f"the layer `{layer}` did not run in a forward pass",
        "list those that do: rdl layers NETWORK",
    )


def _find_shapes(model: nn.Module, image: Images) -> LayerShapes:
    """Return the layers of a network for such an image `1 ...`; known ones are looked up."""
    model = unwrap_module(model)
    known = _KNOWN_SHAPES.setdefault(model, {})
    key = tuple(image.shape[1:])
    if key not in known:
        known[key] = _measure_shapes(model, image)
    return known[key]


def _measure_shapes(model: nn.Module, image: Images) -> LayerShapes:
    names = [name for name, _ in model.named_modules() if name]
    outputs: list[dict[str, list[Any]]] = []
    logits: list[Any] = []
    with _evaluation(model):
        for n in (2, 3):
            of_pass: dict[str, list[Any]] = {}
            outputs.append(of_pass)

            def hook(name: str, output: Any, of_pass: dict[str, list[Any]] = of_pass) -> None:
                tensor = first_tensor(output)
                of_pass.setdefault(name, []).append(
                    type(output).__name__ if tensor is None else tuple(tensor.shape)
                )

            with _hooks(model, names, hook):
                logits.append(model(image.new_zeros(n, *image.shape[1:])))
    shapes = LayerShapes()
    # the order in which modules end; those that run several times are placed by their first run
    for name, two in outputs[0].items():
        three = outputs[1].get(name, [])
        if len(two) != len(three):
            shapes.refused[name] = (
                f"the layer `{name}` runs {len(two)} times for two images, {len(three)} for three",
                "use the block around it: rdl layers NETWORK",
            )
            continue
        layers = [name] if len(two) == 1 else [f"{name}:{run + 1}" for run in range(len(two))]
        for layer, at_two, at_three in zip(layers, two, three, strict=True):
            axis, reason = _find_batch_axis(at_two, at_three)
            if reason:
                hint = "use a layer around, before or after it"
                shapes.refused[layer] = (f"the layer `{layer}` {reason}", hint)
            else:
                shapes[layer] = at_two[:axis] + at_two[axis + 1 :]
                shapes.modules[layer], shapes.axes[layer] = name, axis
        if len(layers) > 1:
            shapes.refused[name] = (
                f"the layer `{name}` runs {len(layers)} times in a pass",
                f"choose one: {', '.join(layers[:6])}",
            )
    for name in names:
        if name not in outputs[0]:
            shapes.refused[name] = _never_runs(name)
    if isinstance(logits[0], Tensor):
        shapes.pop(LOGITS, None)
        shapes[LOGITS] = tuple(logits[0].shape[1:])
    return shapes


def _find_batch_axis(two: Any, three: Any) -> tuple[int, str]:
    """Return the axis that counts the images, and why there is none ("" if there is one).

    `two` and `three` are the shapes for two and for three images, or the type of another output.
    """
    if not isinstance(two, tuple) or not isinstance(three, tuple):
        return 0, f"gives a {two}, in which there is no tensor"
    if two == three:
        return 0, (
            f"gives {two} for two images and for three: weights or a table of positions,"
            " not activations"
        )
    other = f"gives {two} for two images and {three} for three"
    if len(two) != len(three):
        return 0, f"{other}: no axis counts the images"
    changed = [k for k, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if len(changed) > 1:
        return 0, f"{other}: {len(changed)} axes depend on the number of images"
    (axis,) = changed
    if (two[axis], three[axis]) != (2, 3):
        return 0, f"{other}: axis {axis} counts parts of images, not images"
    if len(two) == 1:
        return 0, f"{other}: one number an image is no pattern"
    return axis, ""


@contextmanager
def _hooks(model: nn.Module, names: Iterable[str], function: Any) -> Iterator[None]:
    """Call `function(name, output)` after each run of the named modules inside the block."""
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _m, _a, out, name=name: function(name, out)
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients inside the block; leave every mode and random state as it was."""
    modes = [(module, module.training) for module in model.modules()]
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(cuda):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
