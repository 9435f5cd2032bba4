"""A target is that of the image and view that the student sees, from every source."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.networks.hooks import forward_with_layers, layer_shapes
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import inner_products, kernel_distances
from rdl_cli.store.layout import ActivationSpec, KernelSpec, RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store
from rdl_cli.training.targets import (
    LiveTarget,
    StoreTarget,
    TeacherDistances,
    root_mean_square,
)

N = 12
VIEWS = ("identity", "hflip")
REPS = np.random.default_rng(0).normal(size=(2, N, 3, 2)).astype(np.float32)
RDM = pdist(REPS[0].reshape(N, -1), "sqeuclidean").astype(np.float32)
IS_MEASURED = np.arange(len(RDM)) % 3 > 0
KERNEL = REPS[0].reshape(N, -1) @ REPS[0].reshape(N, -1).T
ROWS = torch.full((40,), -1)
IDS = torch.arange(N) * 3  # the store holds the images of these ids, in reverse
ROWS[IDS] = torch.arange(N).flip(0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("targets") / "store.h5"
    stimuli = Stimuli(np.array([f"{i:064x}" for i in range(N)], "S64"))
    specs = [
        ActivationSpec("maps", (3, 2), "float32", VIEWS, "correlation"),
        ActivationSpec("half", (3, 2), "float16", VIEWS),
        KernelSpec("kernel", "float32", "mse", 6),
        RdmSpec("rdm", 1, "float32", "sqeuclidean"),
        RdmSpec("gaps", 1, "float32", "sqeuclidean"),
        RdmSpec("unknown", 1, "float32", ""),
        RdmSpec("brain", 2, "float32", "crossnobis"),
    ]
    with create_store(path, stimuli, {}, specs, "f") as writer:
        for view in range(2):
            for layer in ("maps", "half"):
                writer.write(layer, 0, REPS[view], view)
        writer.write_kernel("kernel", 0, KERNEL[np.triu_indices(N)])
        writer.write_rdm("rdm", 0, 0, RDM)
        writer.write_rdm("gaps", 0, 0, np.where(IS_MEASURED, RDM, np.nan))
        writer.write_rdm("unknown", 0, 0, RDM)
        for index in range(2):
            writer.write_rdm("brain", index, 0, RDM)
    return Store.open(path)


def open_target(store, *layers, views=("identity",)):
    return StoreTarget(store, layers, ROWS, views, CPU)


def make_batch(ids, views=None):
    ids = torch.as_tensor(ids)
    views = torch.zeros_like(ids) if views is None else torch.tensor(views)
    return Batch(torch.zeros(len(ids), 1, 2, 2), torch.zeros_like(ids), ids, views)


def test_store_target_returns_activations_of_image_and_view(store):
    target = open_target(store, "maps", "half", views=VIEWS)
    reps = target.representations("maps", make_batch([0, 33, 3, 0], [0, 1, 1, 1]))
    expected = np.stack([REPS[0, 11], REPS[1, 0], REPS[1, 10], REPS[1, 11]])
    assert reps.dtype == torch.float32 and np.array_equal(reps, expected)
    half = target.representations("half", make_batch([0, 33], [0, 1]))
    assert np.array_equal(half, expected[:2].astype(np.float16).astype(np.float32))
    assert target.shape("maps") == (3, 2)


def test_fix_distance_takes_the_argument_then_the_stores_then_mse(store):
    target = open_target(store, "maps", "half", "kernel", "rdm")
    assert target.fix_distance("maps", None).distance == "correlation"
    assert target.fix_distance("maps", "cosine").distance == "cosine"
    assert target.fix_distance("half", None).distance == "mse"
    assert target.fix_distance("kernel", None).distance == "mse"
    assert target.fix_distance("rdm", None).distance == "sqeuclidean"


@pytest.mark.parametrize("distance", DISTANCES.names())
def test_store_target_computes_distances_from_activations(store, distance):
    reps = torch.from_numpy(REPS[0])
    square = DISTANCES.find(distance)(reps, reps)
    distances = open_target(store, "maps").fix_distance("maps", distance)(make_batch([3, 0, 30]))
    rows = [10, 11, 1]
    torch.testing.assert_close(distances, square[rows][:, rows], rtol=1e-4, atol=1e-5)


def test_store_target_computes_distances_and_centred_kernels_from_a_kernel(store):
    target, batch, rows = open_target(store, "kernel"), make_batch([3, 0, 30]), [10, 11, 1]
    kernel = torch.from_numpy(KERNEL[np.ix_(rows, rows)])
    expected = kernel_distances(kernel.double(), "mse", 6).float()
    distances = target.fix_distance("kernel", "mse")(batch)
    torch.testing.assert_close(distances, expected, rtol=1e-4, atol=1e-5)
    centred = inner_products(torch.from_numpy(REPS[0][rows]), "stimuli")
    actual = target.kernel("kernel", batch, "stimuli")
    torch.testing.assert_close(actual, centred, rtol=1e-4, atol=1e-5)


def test_store_target_gathers_distances_from_an_rdm(store):
    target = open_target(store, "rdm", "gaps", "unknown")
    rows, batch = [10, 11, 1, 10], make_batch([3, 0, 30, 3])
    for layer in ("rdm", "unknown"):
        distances = target.fix_distance(layer, None)(batch)
        expected = squareform(RDM)[rows][:, rows]
        assert np.array_equal(distances, expected), "an image is at distance 0 from itself"
    with_gaps = target.fix_distance("gaps", None)(make_batch(IDS))
    missing = squareform(np.where(IS_MEASURED, 0.0, 1.0)).astype(bool)
    assert np.array_equal(with_gaps.isnan().numpy(), missing[::-1, ::-1])


def test_store_target_refuses_data_that_the_store_lacks(store):
    rdms = open_target(store, "rdm")
    with pytest.raises(UserError, match="holds RDMs, not activations"):
        rdms.representations("rdm", make_batch([0]))
    with pytest.raises(UserError, match="holds RDMs, not activations"):
        rdms.shape("rdm")
    with pytest.raises(UserError, match="holds RDMs, not a kernel"):
        rdms.kernel("rdm", make_batch([0]), "none")
    with pytest.raises(UserError, match="is in `sqeuclidean`; the objective asks for `mse`"):
        rdms.fix_distance("rdm", "mse")
    with pytest.raises(UserError, match="RDMs of `rdm`, without views; training uses 2 views"):
        open_target(store, "rdm", views=VIEWS)
    with pytest.raises(UserError, match="holds the views identity, hflip of `maps`; training uses"):
        open_target(store, "maps", views=("identity", "shift"))
    with pytest.raises(UserError, match=r"`brain` .* is 2 RDMs; one RDM is needed"):
        open_target(store, "brain")


def test_store_target_follows_a_mean_of_rdms(store):
    distances = open_target(store, "brain@mean").fix_distance("brain@mean", "mse")
    assert distances.distance == "crossnobis"
    assert np.array_equal(distances(make_batch([3, 0]))[0, 1], squareform(RDM)[10, 11])


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return build_network("mnist-cnn:width=0.25", InputShape(1, 8, 8), 10)


def make_images(n):
    ids = torch.arange(n)
    images = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(images, ids, ids, torch.zeros_like(ids))


def test_live_target_runs_once_a_step_without_dropout_or_gradient(teacher):
    layers = ["pool1", "fc", "logits"]
    target = LiveTarget(teacher.train(), layers, layer_shapes(teacher, InputShape(1, 8, 8)))
    calls = []
    handle = teacher.conv1.register_forward_hook(lambda *_: calls.append(1))
    batch = make_images(5)
    reps = {layer: target.representations(layer, batch) for layer in layers}
    distances = target.fix_distance("fc", None)(batch)
    assert len(calls) == 1 and not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    target.representations("fc", make_images(5))
    handle.remove()
    assert len(calls) == 2, "another step is another batch"
    expected = forward_with_layers(teacher, batch.images, layers)[1]
    for layer in layers:
        assert torch.equal(reps[layer], expected[layer]) and not reps[layer].requires_grad
    assert torch.equal(distances, DISTANCES.find("mse")(expected["fc"], expected["fc"]))
    assert target.shape("pool1") == (8, 3, 3)


def test_live_target_computes_in_its_own_dtype(teacher):
    target = LiveTarget(teacher, ["fc"], layer_shapes(teacher, InputShape(1, 8, 8)))
    batch = make_images(5)
    in_float64 = batch._replace(images=batch.images.double())
    reps = target.representations("fc", batch)
    assert torch.equal(target.representations("fc", in_float64), reps)


class TestRootMeanSquare:
    def test_covers_all_measured_pairs_of_few_images(self, store):
        target = open_target(store, "rdm", "gaps")
        for layer, values in (("rdm", RDM), ("gaps", RDM[IS_MEASURED])):
            distances = target.fix_distance(layer, None)
            size = root_mean_square(distances, make_batch(IDS), Seeds(0))
            expected = float(np.sqrt((values.astype(float) ** 2).mean()))
            assert size == pytest.approx(expected, rel=1e-6)

    def test_is_near_that_of_all_pairs_of_many_images(self):
        reps = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
        distances = TeacherDistances(
            "any",
            "sqeuclidean",
            lambda batch: DISTANCES.find("sqeuclidean")(reps[batch.ids], reps[batch.ids]),
        )
        exact = float(np.sqrt((pdist(reps.numpy(), "sqeuclidean") ** 2).mean()))
        sizes = [
            root_mean_square(distances, make_batch(torch.arange(400)), Seeds(seed))
            for seed in (0, 0, 1)
        ]
        assert sizes[0] == sizes[1] != sizes[2]
        assert sizes == pytest.approx([exact] * 3, rel=0.05)

    @pytest.mark.parametrize(("value", "fact"), [(0.0, "are all 0"), (np.nan, "are all nan")])
    def test_refuses_a_constant_rdm(self, value, fact):
        constant = TeacherDistances(
            "dead", "mse", lambda batch: torch.full((len(batch.ids),) * 2, value)
        )
        with pytest.raises(UserError, match=fact):
            root_mean_square(constant, make_batch(IDS), Seeds(0))
