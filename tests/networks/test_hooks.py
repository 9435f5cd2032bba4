"""Layers as their modules gave them, whatever happens to them afterwards."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from rdl_cli.core.errors import UserError
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import (
    find_unstable_layers,
    forward_with_layers,
    layer_shapes,
    read_layers,
    select_layers,
)


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
        self.twice, self.dead, self.end = (nn.Linear(4, 4) for _ in range(3))
        self.pair, self.words = Pair(), Words()

    def forward(self, x):
        self.words(x)
        return self.end(self.pair(self.twice(self.twice(x.flatten(1))))[1])


class Pair(nn.Module):
    """Gives no tensor, then the tensor, as blocks of attention do with their weights."""

    def forward(self, x):
        return None, {"hidden": x + 1}["hidden"], x


class Words(nn.Module):
    def forward(self, x):
        return "words"


@pytest.mark.parametrize(
    ("layer", "fact"),
    [
        ("twice", "runs 2 times in a pass"),
        ("dead", "did not run"),
        ("words", "gives a str, in which there is no tensor"),
    ],
)
def test_forward_with_layers_refuses_unreadable_layers_and_removes_hooks(layer, fact):
    model = Odd()
    for read in (forward_with_layers, read_layers):
        with pytest.raises(UserError, match=fact):
            read(model, torch.rand(2, 1, 2, 2), [layer, "end"])
        assert not hooks(model)
    shapes = layer_shapes(model, InputShape(1, 2, 2))
    assert list(shapes) == ["twice:1", "twice:2", "pair", "end", "logits"]
    with pytest.raises(UserError, match=fact):
        select_layers([layer], shapes)


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
    assert "layer1.0.relu" not in shapes and "layer1.0.relu:2" in shapes, "it runs twice"
    assert (
        list(shapes)[:3] == ["conv1", "bn1", "relu"] and not resnet.training and not hooks(resnet)
    )
    resnet.train()
    layer_shapes(resnet, InputShape(3, 32, 32))
    assert resnet.training
    resnet.eval()


def test_read_layers_reads_each_run_of_a_module():
    model, images = Odd(), torch.rand(3, 1, 2, 2)
    reps = read_layers(model, images, ["twice:1", "twice:2", "pair"])
    once = model.twice(images.flatten(1))
    assert torch.equal(reps["twice:1"], once)
    assert torch.equal(reps["twice:2"], model.twice(once))
    assert torch.equal(reps["pair"], model.twice(once) + 1)


class TokensFirst(nn.Module):
    """Tokens come first (16, n, 4), and so does a table of 16 positions without images."""

    def __init__(self):
        super().__init__()
        self.table, self.parts, self.gram = nn.Embedding(16, 4), nn.Identity(), nn.Identity()
        self.tokens, self.end = nn.Identity(), nn.Linear(4, 3)

    def forward(self, x):
        tokens = x.flatten(1).view(len(x), 16, -1).transpose(0, 1)
        tokens = self.tokens(tokens + self.table(torch.arange(16))[:, None])
        self.parts(tokens.flatten(0, 1))
        self.gram(torch.einsum("tnk,tmk->nm", tokens, tokens))
        return self.end(tokens.mean(0))


@pytest.mark.parametrize("n", [1, 5, 16, 32])
def test_read_layers_makes_the_batch_the_first_axis(n):
    model, images = TokensFirst(), torch.rand(n, 1, 8, 8)
    shapes = layer_shapes(model, InputShape(1, 8, 8))
    assert shapes == {"tokens": (16, 4), "end": (3,), "logits": (3,)}
    own = images.view(n, 16, 4) + model.table.weight
    assert torch.equal(read_layers(model, images, ["tokens"])["tokens"], own)
    for layer, fact in {
        "table": r"gives \(16, 4\) for two images and for three: weights",
        "parts": "axis 0 counts parts of images",
        "gram": "2 axes depend on the number of images",
    }.items():
        for read in (
            lambda name=layer: read_layers(model, images, [name]),
            lambda name=layer: select_layers([name], shapes),
        ):
            with pytest.raises(UserError, match=fact):
                read()


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_layers_of_wrapped_networks_have_their_own_names(resnet, wrap):
    wrapped, layers = wrap(resnet), ["layer1", "logits"]
    assert layer_shapes(wrapped, InputShape(3, 32, 32)) == layer_shapes(
        resnet, InputShape(3, 32, 32)
    )
    with torch.no_grad():
        expected, reps = (read_layers(model, IMAGES, layers) for model in (resnet, wrapped))
    assert all(torch.equal(expected[layer], reps[layer]) for layer in layers)


class DropoutLeftOn(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.end = nn.Linear(64, 64), nn.Identity(), nn.Linear(64, 3)

    def forward(self, x):
        return self.end(self.drop(nn.functional.dropout(self.first(x.flatten(1)))))


def test_find_unstable_layers_finds_dropout_that_is_left_on(resnet):
    layers, model = ["first", "drop", "end"], DropoutLeftOn()
    before = torch.get_rng_state()
    assert find_unstable_layers(model, InputShape(1, 8, 8), layers) == ["drop", "end"]
    shape = InputShape(3, 32, 32)
    assert find_unstable_layers(resnet, shape, layer_shapes(resnet, shape)) == []
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers are drawn"


def test_layer_shapes_keeps_the_mode_of_every_part(resnet):
    resnet.train()
    resnet.bn1.eval()
    layer_shapes(resnet, InputShape(3, 48, 48))
    assert resnet.training and resnet.layer1.training and not resnet.bn1.training
    resnet.eval()
