"""Published and foreign weights of a network, and the preprocessing that they were trained with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.registry import TYPED, NameSource
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.networks.hooks import read_layers
from rdl_cli.networks.weights import load_matching, read_state_dict

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class InputTransform:
    """The images that weights expect: their size, and the mean and sd of each channel.

    `resize` is the length of the shorter side before a square of `crop` pixels is cut out.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @property
    def preprocessing(self) -> str:
        """The transform as a spec of preprocessing, which stores and runs record."""
        mean, sd = ("/".join(map(repr, values)) for values in (self.mean, self.sd))
        return (
            f"imagenet:resize={self.resize},crop={self.crop},interpolation={self.interpolation}"
            f",mean={mean},sd={sd}"
        )

    @property
    def input_shape(self) -> InputShape:
        return InputShape(len(self.mean), self.crop, self.crop)


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights by name: their file, and the transform of their images, None if it is not known."""

    file: Path
    transform: InputTransform | None
    note: str = ""


@dataclass(frozen=True, eq=False)
class PretrainedNetwork:
    """A network with weights of a file; `new` are the tensors that the file does not have."""

    network: nn.Module
    weights: PretrainedWeights
    classes: int
    unwrapped: str
    new: tuple[str, ...]


def find_weights(spec: str, weights: str, download: bool = False) -> PretrainedWeights:
    """Return the weights that `IMAGENET1K_V1`, `DEFAULT` or a path names for a network.

    UserError if the file is missing and `download` is False, or the name is unknown.
    """
    library, _, rest = spec.partition(":")
    name = rest.partition(",")[0]
    if Path(weights).is_file() or weights.endswith((".pt", ".pth", ".ckpt", ".safetensors")):
        if not Path(weights).is_file():
            raise UserError(f"there are no weights at {weights}", hint="check the path")
        return PretrainedWeights(Path(weights), find_transform(spec, weights))
    if library == "torchvision":
        entry = _torchvision_weights(name, weights)
        file = _cached_file(entry.url, f"{spec} with {entry.name}", download)
        return PretrainedWeights(file, find_transform(spec, entry.name), entry.name)
    if library == "timm":
        config = _timm_config(name if weights == "DEFAULT" else f"{name}.{weights}")
        if not config.url:
            raise UserError(
                f"timm names no file to download for `{name}`; its weights are on the hub as"
                f" {config.hf_hub_id}",
                hint="download them there, and pass --weights FILE",
            )
        file = _cached_file(config.url, f"{spec} with {weights}", download)
        return PretrainedWeights(file, find_transform(spec, weights), config.tag or weights)
    raise UserError(
        f"`{spec}` has no published weights, and there is no file {weights}",
        hint="pass --weights FILE; names like DEFAULT are for torchvision:NAME and timm:NAME",
    )


def find_transform(spec: str, weights: str = "DEFAULT") -> InputTransform | None:
    """Return the transform of a network's published weights; None if it has none.

    For a file it is that of the published weights with the same file name, else of the default.
    """
    library, _, rest = spec.partition(":")
    name = rest.partition(",")[0]
    if library == "torchvision":
        return _torchvision_transform(name, weights)
    if library == "timm":
        return _timm_transform(name, weights)
    return None


def load_pretrained(
    spec: str,
    weights: PretrainedWeights,
    shape: InputShape,
    classes: int | None = None,
    source: NameSource = TYPED,
) -> PretrainedNetwork:
    """Return a network with weights of a file, in evaluation mode.

    `classes` is by default the number in the file, so that its readout fits. UserError if nothing
    of the file fits, or anything but the readout is missing.
    """
    tensors, unwrapped = read_state_dict(weights.file)
    n = classes or IMAGENET_CLASSES
    network = build_network(spec, shape, n, source)
    if classes is None and (own := _count_classes(network, tensors)) not in (None, n):
        n = own or n
        network = build_network(spec, shape, n, source)
    copied, new = load_matching(network, tensors)
    if not copied:
        raise UserError(
            f"no tensor of {weights.file} fits the network `{spec}`",
            hint="names and shapes must be the same",
        )
    return PretrainedNetwork(network.eval(), weights, n, unwrapped, tuple(new))


def find_dependent_layers(
    network: nn.Module, shape: InputShape, layers: list[str], tensors: tuple[str, ...]
) -> list[str]:
    """Return the layers whose activations depend on some of the network's tensors.

    Found by a pass with other values. The tensors are those that no training has seen.
    """
    state = network.state_dict()
    tensors = tuple(name for name in tensors if state[name].is_floating_point())
    if not tensors:
        return []
    rng = torch.Generator().manual_seed(0)
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    images = torch.rand(2, *shape, generator=rng).to(device)
    network.eval()
    with torch.no_grad():
        before = read_layers(network, images, layers)
        remaining = {name: state[name].clone() for name in tensors}
        for name in tensors:
            noise = torch.rand(state[name].shape, generator=rng).to(state[name])
            state[name].mul_(0.5).add_(noise + 0.1)
        after = read_layers(network, images, layers)
        for name in tensors:
            state[name].copy_(remaining[name])
    return [layer for layer in layers if not torch.equal(before[layer], after[layer])]


def _count_classes(network: nn.Module, tensors: Mapping[str, Tensor]) -> int | None:
    """Return the number of classes in a file, if its tensors differ only in that from a network."""
    sizes = {
        tensors[name].shape[0]
        for name, own in network.state_dict().items()
        if name in tensors
        and own.ndim
        and tensors[name].ndim == own.ndim
        and tensors[name].shape != own.shape
        and own.shape[0] == IMAGENET_CLASSES
    }
    return sizes.pop() if len(sizes) == 1 else None


def _torchvision_weights(name: str, weights: str) -> Any:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise unknown_name("torchvision network", name, models.list_models(module=models))
    entries = models.get_model_weights(name)
    if weights == "DEFAULT":
        return entries["DEFAULT"]
    known = [entry.name for entry in entries]
    if weights not in known:
        raise unknown_name(
            f"set of weights of torchvision:{name} called",
            weights,
            known,
            hint=f"DEFAULT, {', '.join(known)}; or the path of a file",
        )
    return entries[weights]


def _torchvision_transform(name: str, weights: str) -> InputTransform | None:
    from torchvision import models

    if name not in models.list_models(module=models):
        return None
    entries = {entry.name: entry for entry in models.get_model_weights(name)}
    default = models.get_model_weights(name)["DEFAULT"]
    same_file = [e for e in entries.values() if Path(e.url).name == Path(weights).name]
    entry = entries.get(weights) or next(iter(same_file), default)
    transform = entry.transforms()
    if not hasattr(transform, "crop_size"):
        return None
    return InputTransform(
        transform.resize_size[0],
        transform.crop_size[0],
        transform.interpolation.value,
        tuple(transform.mean),
        tuple(transform.std),
    )


def _timm_config(name: str) -> Any:
    from rdl_cli.networks.external import import_timm

    try:
        config = import_timm().get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None:
        raise UserError(f"timm has no published weights `{name}`", hint="pass --weights FILE")
    return config


def _timm_transform(name: str, weights: str) -> InputTransform | None:
    from rdl_cli.networks.external import import_timm

    timm = import_timm()
    try:
        config = timm.get_pretrained_cfg(f"{name}.{weights}")
    except RuntimeError:  # no tag, but DEFAULT or a file
        config = timm.get_pretrained_cfg(name)
    if config is None:
        return None
    data = timm.data.resolve_data_config({}, pretrained_cfg=config.to_dict())
    crop = data["input_size"][1]
    return InputTransform(
        int(crop / data["crop_pct"]),
        crop,
        data["interpolation"],
        tuple(data["mean"]),
        tuple(data["std"]),
    )


def _cached_file(url: str, what: str, download: bool) -> Path:
    """Return the file of a URL in torch's folder of checkpoints.

    UserError naming the file if it is missing, and not to be or not able to be downloaded.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if file.is_file():
        return file
    hint = f"download {url} on any computer and put it there, or pass --weights FILE"
    if not download:
        raise UserError(
            f"the weights of {what} are missing: there is no file {file}",
            hint=f"pass --download; or {hint}",
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(file), progress=False)
    except OSError as error:
        raise UserError(
            f"the weights of {what} are missing: there is no file {file}, and {url} cannot be"
            f" reached: {error}",
            hint=hint,
        ) from error
    return file
