"""RDMs of networks by name over a folder of images, beside plain PyTorch with hooks and SciPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from scipy.spatial.distance import pdist
from torch import nn

from rdl_cli.commands.export_rdms.brain_stimuli import export_over_stimuli
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.networks.pretrained import find_transform


def write_images(folder: Path, n: int) -> list[Path]:
    """Write smooth images of several sizes, called image_1.png and so on."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = [folder / f"image_{k}.png" for k in range(1, n + 1)]
    for k, file in enumerate(files):
        low = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(low).resize((300 + k, 260)).save(file)
    return files


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("stimuli") / "images", 12)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    torch.manual_seed(0)
    network = torchvision.models.resnet18().eval()
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state}, path)
    return network, path


def read_by_hand(network: nn.Module, layer: str, files: list[Path], transform) -> np.ndarray:
    """Return a layer by a hook, with the library's own transform."""
    outputs: list[torch.Tensor] = []
    hook = lambda _m, _a, out: outputs.append(out.clone())  # noqa: E731
    handle = network.get_submodule(layer).register_forward_hook(hook)
    with torch.no_grad():
        network(torch.stack([transform(Image.open(file)) for file in files]))
    handle.remove()
    return outputs[0].flatten(1).numpy()


def test_export_over_stimuli_equals_plain_pytorch(images, resnet, tmp_path):
    network, weights = resnet
    settings = ExportSettings(
        weights=str(weights), layers=["layer4", "avgpool"], as_="rdm", distance="correlation"
    )
    store = export_over_stimuli(
        "torchvision:resnet18", images[0].parent, tmp_path / "s.h5", settings
    )
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    for layer in settings.layers:
        expected = pdist(read_by_hand(network, layer, images, transform), "correlation")
        assert store.rdms(layer).values[0] == pytest.approx(expected, abs=1e-5)
    assert store.stimuli.names.tolist() == [file.name for file in images]
    assert store.stimuli.preprocessing.startswith("imagenet:resize=256,crop=224")


@pytest.mark.slow
def test_export_over_stimuli_of_92_images_equals_plain_pytorch(tmp_path):
    timm = pytest.importorskip("timm")
    files = write_images(tmp_path / "images", 92)
    torch.manual_seed(0)
    models = {
        "torchvision:resnet18": (torchvision.models.resnet18(), "layer4"),
        "torchvision:vit_b_16": (
            torchvision.models.vit_b_16(),
            "encoder.layers.encoder_layer_5",
        ),
        "timm:resnet10t": (timm.create_model("resnet10t", pretrained=False), "layer3"),
    }
    for spec, (network, layer) in models.items():
        weights = tmp_path / f"{spec.partition(':')[2]}.pth"
        torch.save(network.state_dict(), weights)
        settings = ExportSettings(
            weights=str(weights), layers=[layer], as_="rdm", distance="correlation", batch_size=30
        )
        store = export_over_stimuli(spec, files[0].parent, tmp_path / f"{spec}.h5", settings)
        if spec.startswith("torchvision"):
            name = spec.partition(":")[2]
            transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        else:
            data = timm.data.resolve_data_config({}, model=network)
            transform = timm.data.create_transform(**data)
        expected = pdist(read_by_hand(network.eval(), layer, files, transform), "correlation")
        assert store.rdms(layer).values[0] == pytest.approx(expected, abs=1e-5)


def test_export_over_stimuli_marks_layers_of_a_new_readout(images, resnet, tmp_path, capsys):
    settings = ExportSettings(weights=str(resnet[1]), layers=["avgpool", "logits"], classes=2)
    store = export_over_stimuli(
        "torchvision:resnet18", images[0].parent, tmp_path / "s.h5", settings
    )
    assert [store.layer(name).untrained for name in settings.layers] == [False, True]
    assert "logits of torchvision:resnet18 are untrained" in capsys.readouterr().err


def test_export_over_stimuli_orders_like_a_store_by_name(images, resnet, tmp_path):
    settings = ExportSettings(weights=str(resnet[1]), layers=["avgpool"])
    folder, spec = images[0].parent, "torchvision:resnet18"
    first = export_over_stimuli(spec, folder, tmp_path / "a.h5", settings)
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for k, file in enumerate(reversed(images)):
        (shuffled / f"{k:02}.png").write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=r"image_1\.png"):
        like = ExportSettings(
            weights=str(resnet[1]), layers=["avgpool"], like=str(tmp_path / "a.h5")
        )
        export_over_stimuli(spec, shuffled, tmp_path / "b.h5", like)
    again = export_over_stimuli(spec, folder, tmp_path / "b.h5", like)
    assert again.stimuli.names.tolist() == first.stimuli.names.tolist()
    assert "in the order of" in again.provenance["order"]


def test_export_over_stimuli_pools_and_projects(images, resnet, tmp_path):
    folder, spec, weights = images[0].parent, "torchvision:resnet18", str(resnet[1])
    whole, pooled, projected = (
        export_over_stimuli(
            spec,
            folder,
            tmp_path / f"{k}.h5",
            ExportSettings(weights=weights, layers=["layer3"], **options),
        ).layer("layer3")
        for k, options in enumerate([{}, {"pool": "avg"}, {"project": 2000}])
    )
    values = whole.activations()[0]
    assert np.allclose(pooled.activations()[0], values.mean((2, 3)), atol=1e-6)
    assert pooled.attributes["pool"] == "avg" and projected.shape == (2000,)
    ratio = pdist(projected.activations()[0]) / pdist(values.reshape(len(values), -1))
    error = np.abs(ratio - 1)
    recorded = dict(item.split("=") for item in projected.attributes["project"].split(","))
    assert float(recorded["distortion"]) == pytest.approx(error.mean(), abs=1e-3)
    assert float(recorded["distortion99"]) == pytest.approx(np.quantile(error, 0.99), abs=1e-3)
    assert error.mean() < 0.1


@pytest.mark.parametrize(
    ("spec", "options", "fact"),
    [
        ("torchvision:resnet18", {}, "has no weights"),
        ("torchvision:resnet18", {"weights": "IMAGENET1K_V1"}, r"resnet18-f37072fd\.pth"),
        ("torchvision:resnet18", {"weights": "IMAGENET1K_V3"}, "did you mean `IMAGENET1K_V1`"),
        ("torchvision:resnet18", {"weights": "none.pth"}, "no weights at none.pth"),
        ("torchvision:resnet18", {"preprocessing": "unit"}, "for standardized images"),
        ("torchvision:resnet18", {"pool": "cls"}, "has shape .* and no tokens"),
    ],
)
def test_export_over_stimuli_refuses_wrong_sources(
    spec, options, fact, images, resnet, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    if options.keys() & {"preprocessing", "pool"}:
        options = options | {"weights": str(resnet[1])}
    with pytest.raises(UserError, match=fact):
        export_over_stimuli(
            spec,
            images[0].parent,
            tmp_path / "s.h5",
            ExportSettings(layers=["layer4"], **options),
        )
    assert not (tmp_path / "s.h5").exists()


def test_find_transform_is_that_of_the_published_weights():
    transform = find_transform("torchvision:resnet50", "IMAGENET1K_V2")
    assert transform is not None and (transform.resize, transform.crop) == (232, 224)
    first = find_transform("torchvision:resnet50", "resnet50-0676ba61.pth")
    assert first is not None and first.resize == 256, "known by the name of the file"
    assert find_transform("mnist-cnn") is None
