"""Reading layers: what each gave, whatever happens to it afterwards."""

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
    """What each layer gives, copied before anything else can touch it."""
    found = {}
    handles = [
        model.get_submodule(layer).register_forward_hook(
            lambda _m, _a, out, layer=layer: found.update({layer: out.clone()})
        )
        for layer in layers
    ]
    with torch.no_grad():
        logits = model(IMAGES)
    for handle in handles:
        handle.remove()
    return logits, found


def test_in_place_steps_after_a_tap_do_not_change_it(resnet):
    """resnet's ReLU after bn1 works in place, and so does the sum after layer1.0.bn2."""
    layers = ["conv1", "bn1", "layer1.0.bn2", "layer1.0", "layer1", "avgpool"]
    logits, expected = by_hand(resnet, layers)
    assert all((expected[layer] < 0).any() for layer in ("bn1", "layer1.0.bn2")), (
        "else the test could not fail"
    )
    with torch.no_grad():
        mine, taps = forward_with_layers(resnet, IMAGES, layers)
        assert torch.equal(mine, logits) and not hooks(resnet)
        for found in (taps, read_layers(resnet, IMAGES, layers)):
            assert found.keys() == expected.keys() and all(
                torch.equal(found[layer], expected[layer]) for layer in layers
            )


def test_taps_carry_the_right_gradient():
    torch.manual_seed(0)
    resnet = (
        resnet18(num_classes=10).eval().double()
    )  # in float32 the order of the sums shows, another on each processor
    images = IMAGES.double()
    logits, taps = forward_with_layers(resnet, images, ["bn1", "layer1"])
    (logits.sum() + taps["bn1"].square().sum() + taps["layer1"].sum()).backward()
    mine = resnet.conv1.weight.grad.clone()
    resnet.zero_grad()
    x = resnet.bn1(resnet.conv1(images))
    y = resnet.layer1(resnet.maxpool(x.relu()))
    z = resnet.fc(resnet.avgpool(resnet.layer4(resnet.layer3(resnet.layer2(y)))).flatten(1))
    (z.sum() + x.square().sum() + y.sum()).backward()
    torch.testing.assert_close(mine, resnet.conv1.weight.grad)


class Aliased(nn.Module):
    """The tap of `same` is the very tensor that is then changed, without passing through it."""

    def __init__(self):
        super().__init__()
        self.same, self.end = nn.Identity(), nn.Flatten()

    def forward(self, x):
        x = x * 1
        kept = self.same(x)
        x += 1
        return self.end(kept + x)


def test_a_tap_is_a_copy_even_of_what_the_layer_was_given():
    model, images = Aliased(), torch.ones(2, 1, 1, 1)
    logits, taps = forward_with_layers(model, images, ["same"])
    assert torch.equal(taps["same"], images) and torch.equal(logits, model(images)), (
        "and the network goes on as without a tap"
    )


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
def test_layers_that_cannot_be_read_are_refused_and_leave_no_hook(layer, fact):
    model = Odd()
    for how in (forward_with_layers, read_layers):
        with pytest.raises(UserError, match=fact):
            how(model, torch.rand(2, 1, 2, 2), [layer, "end"])
        assert not hooks(model)
    assert list(layer_shapes(model, InputShape(1, 2, 2))) == ["end", "logits"]


def test_a_failing_network_leaves_no_hook():
    model = Odd()
    with pytest.raises(RuntimeError):
        forward_with_layers(model, torch.rand(2, 1, 3, 3), ["end"])
    assert not hooks(model)


def test_logits_are_a_tap_of_every_network(resnet):
    with torch.no_grad():
        logits, taps = forward_with_layers(resnet, IMAGES, ["logits", "layer4"])
        assert taps["logits"] is logits and set(taps) == {"logits", "layer4"}
        assert torch.equal(read_layers(resnet, IMAGES, ["logits"])["logits"], logits)


def test_read_only_stops_after_the_last_wanted_layer(resnet):
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


def test_shapes_are_those_of_what_is_read(resnet):
    found = layer_shapes(resnet, InputShape(3, 32, 32))
    with torch.no_grad():
        taps = forward_with_layers(resnet, IMAGES, found)[1]
    assert {layer: tuple(tap.shape[1:]) for layer, tap in taps.items()} == found
    assert "layer1.0.relu" not in found, "it runs twice"
    assert list(found)[:3] == ["conv1", "bn1", "relu"] and not resnet.training and not hooks(resnet)
    resnet.train()
    layer_shapes(resnet, InputShape(3, 32, 32))
    assert resnet.training
    resnet.eval()
