"""Steps on a fake `cuda` device: no mixed devices, no `.item()`, no copy from device to CPU."""

import math
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
import torch
from brains import make_brain, subject_rdms
from scipy.spatial.distance import pdist
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import layer_shapes
from rdl_cli.store.layout import ActivationSpec, KernelSpec, RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store
from rdl_cli.training import layer_objectives
from rdl_cli.training.device_layer import DeviceLayer
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext, Progress
from rdl_cli.training.objectives import rdl
from rdl_cli.training.student import StudentModule
from rdl_cli.training.targets import LiveTarget, StoreTarget

N, CLASSES = 12, 5
SHAPES = {"conv": (3, 4, 4), "logits": (CLASSES,)}
CHECKS = ("check_activations", "check_kernel", "check_distances", "check_varying")
OF_RDMS = {"rdl", "rsa", "cosine", "whitened"}
OF_KERNELS = OF_RDMS | {"cka", "bayes", "sp", "bures", "procrustes"}
SPECS = (
    *(name for name in OBJECTIVES.names() if name != "dsn"),
    "dsn:layers=conv",
    "rdl:pairs=20",
    "rdl:fit=affine",
    "rdl:distance=correlation",
    "rsa:pairs=reliable",
    "cka:estimator=debiased",
    "bayes:measure=skl",
)
FOLLOWERS = {"activations": set(OBJECTIVES.names()), "kernel": OF_KERNELS, "rdm": OF_RDMS}
FOLLOWERS |= {"live": FOLLOWERS["activations"], "brain": OF_RDMS}
LIMIT = 10**9


class RefuseCopiesToCpu(TorchDispatchMode):
    """Raise at every operation that has a `cuda` tensor among its inputs and returns a CPU one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        if any(x.device.type == "cuda" for x in inputs):
            on_cpu = isinstance(result, torch.Tensor) and result.device.type == "cpu"
            assert not on_cpu, f"{func} copies from cuda to cpu"
        return result


def make_network(channels):
    """Return a network of fake tensors on cuda; `.to` would keep the parameters on the CPU."""
    network = nn.Sequential()
    for name, layer in {
        "conv": nn.Conv2d(1, channels, 3, padding=1, device="cuda"),
        "norm": nn.BatchNorm2d(channels, device="cuda"),
        "flat": nn.Flatten(),
        "out": nn.Linear(16 * channels, CLASSES, device="cuda"),
    }.items():
        network.add_module(name, layer)
    with mock.patch("torch.random.fork_rng", lambda _: nullcontext()):  # needs a real card
        layer_shapes(network, InputShape(1, 4, 4))  # once for each network, before training
    return network


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return stores of activations, kernels and RDMs, with the layers `conv` and `logits`."""
    rng = np.random.default_rng(0)
    reps = {layer: rng.normal(size=(N, *shape)).astype("f4") for layer, shape in SHAPES.items()}
    specs = {
        "activations": lambda layer, shape: ActivationSpec(layer, shape, "float32", ("identity",)),
        "kernel": lambda layer, shape: KernelSpec(layer, "float32", "mse", math.prod(shape)),
        "rdm": lambda layer, _: RdmSpec(layer, 1, "float32", "mse"),
    }
    stimuli = Stimuli(np.array([f"{i:064x}" for i in range(N)], "S64"))
    stores = {}
    for kind, spec in specs.items():
        path = tmp_path_factory.mktemp(kind) / "store.h5"
        layers = [spec(layer, shape) for layer, shape in SHAPES.items()]
        with create_store(path, stimuli, {}, layers, "f") as writer:
            for layer, values in reps.items():
                flat = values.reshape(N, -1)
                if kind == "activations":
                    writer.write(layer, 0, values, 0)
                elif kind == "kernel":
                    writer.write_kernel(layer, 0, (flat @ flat.T)[np.triu_indices(N)])
                else:
                    rdm = pdist(flat, "sqeuclidean") / flat.shape[1]
                    writer.write_rdm(layer, 0, 0, rdm.astype("f4"))
        stores[kind] = Store.open(path)
    return stores


def make_target(kind, store):
    """Return a target on cuda; the rows of a store are made here, inside the fake mode."""
    if kind == "live":
        return LiveTarget(make_network(3), tuple(SHAPES), SHAPES)
    rows = torch.arange(N).flip(0)
    return StoreTarget(store[kind], tuple(SHAPES), rows, ("identity",), "cuda", LIMIT)


def move_brain(brain):
    """Move a brain's tensors to the fake device: its set-up, before training, needs real values."""
    brain._images = brain._images.to("cuda")
    for squares in (brain._squares, brain._weights):
        squares.update({layer: square.to("cuda") for layer, square in squares.items()})
    return brain


def make_batch():
    labels, ids = (torch.arange(8, device="cuda") % CLASSES, torch.arange(8, device="cuda"))
    return Batch(torch.rand(8, 1, 4, 4, device="cuda"), labels, ids, torch.zeros_like(ids))


def is_refused(spec, kind):
    """Return True if an objective cannot follow a target of this kind."""
    name = spec.partition(":")[0]
    return (
        name not in FOLLOWERS[kind] | {"dsn"}
        or (spec == "rdl:distance=correlation" and kind in ("kernel", "rdm", "brain"))
        or (spec == "rsa:pairs=reliable" and kind != "brain")
    )


@pytest.fixture
def without_checks(monkeypatch):
    """Leave out the checks before training, which need values and may wait for the device."""
    for check in CHECKS:
        monkeypatch.setattr(layer_objectives, check, lambda *_: None)
    monkeypatch.setattr(rdl, "root_mean_square", lambda *_: 1.0)


@pytest.mark.parametrize("kind", FOLLOWERS)
@pytest.mark.parametrize("spec", SPECS)
def test_step_never_waits_for_the_device(spec, kind, store, without_checks):
    brain = make_brain(subject_rdms(3, distance="mse"), batch_size=6) if kind == "brain" else None
    with FakeTensorMode(allow_non_fake_inputs=True):
        target = move_brain(brain) if brain else make_target(kind, store)
        match, batch = LayerMatch("conv", "IT" if brain else "conv"), make_batch()
        context = ObjectiveContext((match,), target, SHAPES, CLASSES, batch, Seeds(0))
        if is_refused(spec, kind):
            with pytest.raises(UserError):
                run_step(OBJECTIVES.make(spec, context), batch)
        else:
            run_step(OBJECTIVES.make(spec, context), batch)


def test_target_beyond_the_limit_waits_for_the_device(store):
    with FakeTensorMode(allow_non_fake_inputs=True), RefuseCopiesToCpu():
        rows = torch.arange(N)
        target = StoreTarget(store["activations"], ("conv",), rows, ("identity",), "cuda", 0)
        with pytest.raises(AssertionError, match="cuda to cpu"):
            target.representations("conv", make_batch())


def run_step(objective, batch):
    for module in objective.modules():
        for key, value in list(module._parameters.items()):
            module._parameters[key] = nn.Parameter(value.to("cuda"))
    module = StudentModule(make_network(3), [objective]).train()
    with RefuseCopiesToCpu():
        logits, terms = module(batch, Progress(0, 5, 1, 10), Seeds(0)("test"))
    assert len(terms) > 1 and logits.device.type == "cuda"
    assert all(term.value.device.type == "cuda" for term in terms.values())


def test_mode_refuses_copies_to_the_cpu():
    with FakeTensorMode(), RefuseCopiesToCpu():
        with pytest.raises(AssertionError, match="cuda to cpu"):
            torch.zeros(3, device="cuda").cpu()
        with pytest.raises(AssertionError, match="cuda to cpu"):
            torch.zeros(3).copy_(torch.zeros(3, device="cuda"))


@pytest.mark.parametrize("kind", ["activations", "kernel", "rdm"])
def test_device_layer_equals_the_stored_layer(kind, store):
    stored = store[kind].layer("conv")
    layer = DeviceLayer(stored, torch.device("cpu"))
    rows, views = torch.tensor([3, 0, 11, 3, 7]), torch.zeros(5, dtype=torch.long)
    assert torch.equal(
        layer.distances("mse", rows, views), stored.distances("mse", rows, views.numpy())
    )
    if kind != "rdm":
        for center in ("none", "stimuli"):
            expected = stored.inner_products(rows, views.numpy(), center, torch.float32)
            assert torch.equal(layer.inner_products(rows, views, center), expected)
    else:
        with pytest.raises(UserError, match="holds RDMs, not a kernel"):
            layer.inner_products(rows, views, "none")
    if kind == "activations":
        expected = stored.representations(rows, views.numpy())
        assert torch.equal(layer.representations(rows, views), expected)
    else:
        with pytest.raises(UserError, match="not activations"):
            layer.representations(rows, views)


def test_store_target_keeps_layers_within_its_limit(store):
    size = store["activations"].layer("conv").activations().nbytes
    target = StoreTarget(
        store["activations"], ("conv", "logits"), torch.arange(N), ("identity",), "cpu", size
    )
    assert target.placement == "conv on cpu, 0.0 MB; logits in the file, 0.0 MB"
