"""Layers as their modules gave them, whatever happens to them afterwards."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from rdl_cli.core.errors import UserError
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import forward_with_layers, layer_shapes, read_layers


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return resnet18(num_classes=10).eval()


IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def by_hand(model, layers):
    """Return each layer's output, copied before anything else can change it."""
    outputs = {}
    handles = [
        model.get_submodule(layer).register_forward_hook(
            lambda _m, _a, out, layer=layer: outputs.update({layer: out.clone()})
        )
        for layer in layers
    ]
    with torch.no_grad():
        logits = model(IMAGES)
    for handle in handles:
        handle.remove()
    return logits, outputs


def test_forward_with_layers_copies_before_in_place_steps(resnet):
    """resnet's ReLU after bn1 works in place, and so does the sum after layer1.0.bn2."""
    layers = ["conv1", "bn1", "layer1.0.bn2", "layer1.0", "layer1", "avgpool"]
    logits, expected = by_hand(resnet, layers)
    assert all((expected[layer] < 0).any() for layer in ("bn1", "layer1.0.bn2")), (
        "else the test could not fail"
    )
    with torch.no_grad():
        same_logits, outputs = forward_with_layers(resnet, IMAGES, layers)
        assert torch.equal(same_logits, logits) and not hooks(resnet)
        for reps in (outputs, read_layers(resnet, IMAGES, layers)):
            assert reps.keys() == expected.keys()
            assert all(torch.equal(reps[layer], expected[layer]) for layer in layers)


def test_forward_with_layers_passes_the_gradient():
    torch.manual_seed(0)
    resnet = resnet18(num_classes=10).eval().double()  # float32 sums differ between processors
    images = IMAGES.double()
    logits, reps = forward_with_layers(resnet, images, ["bn1", "layer1"])
    (logits.sum() + reps["bn1"].square().sum() + reps["layer1"].sum()).backward()
    gradient = resnet.conv1.weight.grad.clone()
    resnet.zero_grad()
    x = resnet.bn1(resnet.conv1(images))
    y = resnet.layer1(resnet.maxpool(x.relu()))
    z = resnet.fc(resnet.avgpool(resnet.layer4(resnet.layer3(resnet.layer2(y)))).flatten(1))
    (z.sum() + x.square().sum() + y.sum()).backward()
    torch.testing.assert_close(gradient, resnet.conv1.weight.grad)


class Aliased(nn.Module):
    """The output of `same` is the tensor that is changed afterwards."""

    def __init__(self):
        super().__init__()
        self.same, self.end = nn.Identity(), nn.Flatten()

    def forward(self, x):
        x = x * 1
        same = self.same(x)
        x += 1
        return self.end(same + x)


def test_forward_with_layers_copies_even_a_layers_input():
    model, images = Aliased(), torch.ones(2, 1, 1, 1)
    logits, reps = forward_with_layers(model, images, ["same"])
    assert torch.equal(reps["same"], images) and torch.equal(logits, model(images))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.twice, self.dead, self.pair, self.end = (
            nn.Linear(4, 4),
            nn.Linear(4, 4),
            Pair(),
            nn.Linear(4, 3),
        )

    def forward(self, x):
        return self.end(self.pair(self.twice(self.twice(x.flatten(1))))[0])


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("layer", "fact"),
    [
        ("twice", "runs more than once"),
        ("dead", "did not run"),
        ("pair", "gives a tuple, not a tensor"),
    ],
)
def test_forward_with_layers_refuses_unreadable_layers_and_removes_hooks(layer, fact):
    model = Odd()
    for read in (forward_with_layers, read_layers):
        with pytest.raises(UserError, match=fact):
            read(model, torch.rand(2, 1, 2, 2), [layer, "end"])
        assert not hooks(model)
    assert list(layer_shapes(model, InputShape(1, 2, 2))) == ["end", "logits"]


def test_forward_with_layers_removes_hooks_of_a_failing_network():
    model = Odd()
    with pytest.raises(RuntimeError):
        forward_with_layers(model, torch.rand(2, 1, 3, 3), ["end"])
    assert not hooks(model)


def test_forward_with_layers_has_logits_of_every_network(resnet):
    with torch.no_grad():
        logits, reps = forward_with_layers(resnet, IMAGES, ["logits", "layer4"])
        assert reps["logits"] is logits and set(reps) == {"logits", "layer4"}
        assert torch.equal(read_layers(resnet, IMAGES, ["logits"])["logits"], logits)


def test_read_layers_stops_after_the_last_layer(resnet):
    calls = []
    handles = [
        m.register_forward_hook(lambda m, _a, _o, n=name: calls.append(n))
        for name, m in resnet.named_modules()
    ]
    with torch.no_grad():
        read_layers(resnet, IMAGES, ["layer1", "bn1"])
    assert "layer1.1.bn2" in calls and not any(
        name.startswith("layer2") or name == "fc" for name in calls
    )
    for handle in handles:
        handle.remove()


def test_layer_shapes_are_those_of_the_layers(resnet):
    shapes = layer_shapes(resnet, InputShape(3, 32, 32))
    with torch.no_grad():
        reps = forward_with_layers(resnet, IMAGES, shapes)[1]
    assert {layer: tuple(values.shape[1:]) for layer, values in reps.items()} == shapes
    assert "layer1.0.relu" not in shapes, "it runs twice"
    assert (
        list(shapes)[:3] == ["conv1", "bn1", "relu"] and not resnet.training and not hooks(resnet)
    )
    resnet.train()
    layer_shapes(resnet, InputShape(3, 32, 32))
    assert resnet.training
    resnet.eval()
