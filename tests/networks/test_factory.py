"""Networks by name: sizes of the paper's, and messages for specs that fail."""

import sys

import pytest
import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.networks.factory import NETWORKS, InputShape, build_network
from rdl_cli.networks.hooks import forward_with_layers, layer_shapes

MNIST = InputShape(1, 28, 28)


@pytest.mark.parametrize(("preset", "flat"), [("table1", 1600), ("author", 256)])
def test_mnist_cnn_has_the_sizes_of_its_preset(preset, flat):
    network = build_network(f"mnist-cnn:preset={preset}", MNIST, 10)
    shapes = layer_shapes(network, MNIST)
    assert shapes["flatten"] == (flat,) and shapes["fc"] == (200,) and shapes["logits"] == (10,)
    assert shapes["pool1"][0] == 32 and shapes["pool2"][0] == 64
    assert [p.shape for n, p in network.named_parameters() if n.endswith("weight")] == [
        (32, 1, 5, 5), (64, 32, 5, 5), (200, flat), (10, 200)
    ]  # fmt: skip


def test_mnist_cnn_pools_before_the_relu_with_equal_result():
    torch.manual_seed(0)
    network = build_network("mnist-cnn:width=0.25", MNIST, 10).eval()
    images = torch.rand(3, *MNIST)
    with torch.no_grad():
        layers = forward_with_layers(network, images, ["pool1", "pool2"])[1]
        pool1 = nn.functional.max_pool2d(network.conv1(images).relu(), 3, 3, ceil_mode=True)
        pool2 = nn.functional.max_pool2d(network.conv2(pool1).relu(), 2, 2, ceil_mode=True)
    assert torch.equal(layers["pool1"], pool1) and torch.equal(layers["pool2"], pool2)


def test_mnist_cnn_has_fc_before_dropout():
    network = build_network("mnist-cnn:width=0.25", MNIST, 10).train()
    images = torch.rand(5, *MNIST)
    (first, one), (second, two) = (forward_with_layers(network, images, ["fc"]) for _ in range(2))
    assert torch.equal(one["fc"], two["fc"]) and not torch.equal(first, second)


def test_nin_has_the_sizes_of_table_4():
    cifar = InputShape(3, 32, 32)
    shapes = layer_shapes(build_network("nin", cifar, 10), cifar)
    assert (
        shapes["pool1"] == (96, 16, 16)
        and shapes["pool2"] == (192, 8, 8)
        and shapes["pool3"] == (10,)
    )
    readout = layer_shapes(build_network("nin:readout=true", cifar, 100), cifar)
    assert readout["pool3"] == readout["readout"] == (100,)
    finetuned = layer_shapes(build_network("nin:readout=true,last=10", cifar, 100), cifar)
    assert (finetuned["pool3"], finetuned["readout"]) == ((10,), (100,))
    with pytest.raises(UserError, match="and a readout"):
        build_network("nin:last=10", cifar, 100)


@pytest.mark.parametrize(
    "name", ["mnist-cnn:width=0.1", "nin:width=0.1", "torchvision:squeezenet1_1"]
)
def test_build_network_depends_on_the_seed_and_changes_no_statistics(name):
    shape = InputShape(3, 32, 32)
    torch.manual_seed(1)
    one = build_network(name, shape, 7)
    torch.manual_seed(1)
    two = build_network(name, shape, 7)
    assert (
        all(
            torch.equal(a, b)
            for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
        )
        and one.training
    )
    for key, value in one.state_dict().items():
        assert "running_mean" not in key or not value.any(), (
            "the image that checks the shape changed the statistics"
        )


class TestUserFactory:
    @pytest.fixture
    def module(self, tmp_path, monkeypatch):
        (tmp_path / "my_networks.py").write_text(
            "from torch import nn\n"
            "def plain(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
            "def counted(num_classes, width=3):\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
            "def ours(shape, classes, *, width=8):\n"
            "    layers = nn.Linear(64, width), nn.Linear(width, classes)\n"
            "    return nn.Sequential(nn.Flatten(), *layers)\n"
            "def no_module(): return 3\n"
            "def broken(): raise ValueError('broken by itself')\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        yield "my_networks"
        sys.modules.pop("my_networks", None)

    @pytest.mark.parametrize("factory", ["plain", "counted", "ours", "ours:width=5"])
    def test_is_built(self, module, factory):
        assert layer_shapes(
            build_network(f"{module}:{factory}", InputShape(1, 8, 8), 10), InputShape(1, 8, 8)
        )["logits"] == (10,)

    @pytest.mark.parametrize(
        ("factory", "classes", "fact"),
        [
            ("plain", 7, r"gives \(2, 10\) for two images; \(2, 7\)"),
            ("no_module", 10, "made a int"),
            ("broken", 10, "broken by itself"),
            ("conted", 10, "did you mean `counted`"),
        ],
    )
    def test_is_refused_with_the_reason(self, module, factory, classes, fact):
        with pytest.raises(UserError, match=fact):
            build_network(f"{module}:{factory}", InputShape(1, 8, 8), classes)


@pytest.mark.parametrize(
    ("spec", "shape", "fact"),
    [
        ("mnist-cn", MNIST, "did you mean `mnist-cnn`"),
        ("mnist-cnn:preset=tabel1", MNIST, "did you mean `table1`"),
        ("mnist-cnn:preset=author", InputShape(1, 8, 8), "could not be built for 1x8x8 images"),
        ("torchvision:resnet81", MNIST, "did you mean `resnet18`"),
        ("torchvision:resnet18", MNIST, "does not take 1x28x28 images"),
        ("nowhere:factory", MNIST, "no module of that name"),
    ],
)
def test_build_network_refuses_wrong_specs_and_shapes(spec, shape, fact):
    with pytest.raises(UserError, match=fact):
        build_network(spec, shape, 10)


def test_input_shape_is_parsed_as_it_is_written():
    assert InputShape.parse(str(InputShape(3, 32, 31))) == (3, 32, 31)
    for text in ("3x32", "3x32xa", "0x3x3", ""):
        with pytest.raises(UserError):
            InputShape.parse(text)


def test_networks_have_a_summary():
    for name in NETWORKS:
        assert NETWORKS.summary(name).endswith(".") or len(NETWORKS.summary(name)) > 20
