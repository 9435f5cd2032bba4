"""Networks by name: those of the paper have its sizes, and what cannot be built says why."""

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
    found = layer_shapes(network, MNIST)
    assert found["flatten"] == (flat,) and found["fc"] == (200,) and found["logits"] == (10,)
    assert found["pool1"][0] == 32 and found["pool2"][0] == 64
    assert [p.shape for n, p in network.named_parameters() if n.endswith("weight")] == [
        (32, 1, 5, 5), (64, 32, 5, 5), (200, flat), (10, 200)
    ]  # fmt: skip


def test_pooling_before_the_relu_is_the_same_function():
    torch.manual_seed(0)
    network = build_network("mnist-cnn:width=0.25", MNIST, 10).eval()
    images = torch.rand(3, *MNIST)
    with torch.no_grad():
        taps = forward_with_layers(network, images, ["pool1", "pool2"])[1]
        pool1 = nn.functional.max_pool2d(network.conv1(images).relu(), 3, 3, ceil_mode=True)
        pool2 = nn.functional.max_pool2d(network.conv2(pool1).relu(), 2, 2, ceil_mode=True)
    assert torch.equal(taps["pool1"], pool1) and torch.equal(taps["pool2"], pool2)


def test_the_tap_fc_is_read_before_dropout():
    network = build_network("mnist-cnn:width=0.25", MNIST, 10).train()
    images = torch.rand(5, *MNIST)
    (first, one), (second, two) = (forward_with_layers(network, images, ["fc"]) for _ in range(2))
    assert torch.equal(one["fc"], two["fc"]) and not torch.equal(first, second)


def test_nin_has_the_sizes_of_table_4():
    cifar = InputShape(3, 32, 32)
    found = layer_shapes(build_network("nin", cifar, 10), cifar)
    assert (
        found["pool1"] == (96, 16, 16) and found["pool2"] == (192, 8, 8) and found["pool3"] == (10,)
    )
    readout = layer_shapes(build_network("nin:readout=true", cifar, 100), cifar)
    assert readout["pool3"] == readout["readout"] == (100,)
    finetuned = layer_shapes(build_network("nin:readout=true,last=10", cifar, 100), cifar)
    assert (finetuned["pool3"], finetuned["readout"]) == ((10,), (100,))
    with pytest.raises(UserError, match="asks for a readout"):
        build_network("nin:last=10", cifar, 100)


@pytest.mark.parametrize(
    "name", ["mnist-cnn:width=0.1", "nin:width=0.1", "torchvision:squeezenet1_1"]
)
def test_the_same_seed_builds_the_same_network_and_building_trains_nothing(name):
    pictures = InputShape(3, 32, 32)
    torch.manual_seed(1)
    one = build_network(name, pictures, 7)
    torch.manual_seed(1)
    two = build_network(name, pictures, 7)
    assert (
        all(
            torch.equal(a, b)
            for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
        )
        and one.training
    )
    for key, value in one.state_dict().items():
        assert "running_mean" not in key or not value.any(), (
            "the picture that tests the shape leaves no trace"
        )


class TestAUsersOwn:
    @pytest.fixture
    def module(self, tmp_path, monkeypatch):
        (tmp_path / "my_networks.py").write_text(
            "from torch import nn\n"
            "def plain(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
            "def counted(num_classes, width=3): return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
            "def ours(pictures, classes, *, width=8): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, classes))\n"
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
            ("plain", 7, r"gives \(2, 10\) for two pictures; \(2, 7\)"),
            ("no_module", 10, "made a int"),
            ("broken", 10, "broken by itself"),
            ("conted", 10, "did you mean `counted`"),
        ],
    )
    def test_is_refused_with_the_reason(self, module, factory, classes, fact):
        with pytest.raises(UserError, match=fact):
            build_network(f"{module}:{factory}", InputShape(1, 8, 8), classes)


@pytest.mark.parametrize(
    ("spec", "pictures", "fact"),
    [
        ("mnist-cn", MNIST, "did you mean `mnist-cnn`"),
        ("mnist-cnn:preset=tabel1", MNIST, "did you mean `table1`"),
        ("mnist-cnn:preset=author", InputShape(1, 8, 8), "could not be built for 1x8x8 pictures"),
        ("torchvision:resnet81", MNIST, "did you mean `resnet18`"),
        ("torchvision:resnet18", MNIST, "does not take 1x28x28 pictures"),
        ("nowhere:factory", MNIST, "no module of that name"),
    ],
)
def test_bad_names_and_pictures_are_refused(spec, pictures, fact):
    with pytest.raises(UserError, match=fact):
        build_network(spec, pictures, 10)


def test_pictures_are_read_as_they_are_written():
    assert InputShape.read(str(InputShape(3, 32, 31))) == (3, 32, 31)
    for text in ("3x32", "3x32xa", "0x3x3", ""):
        with pytest.raises(UserError):
            InputShape.read(text)


def test_every_network_tells_what_it_is():
    for name in NETWORKS:
        assert NETWORKS.summary(name).endswith(".") or len(NETWORKS.summary(name)) > 20
