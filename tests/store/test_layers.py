"""A stored layer returns values, and distances from activations, a kernel or an RDM alike."""

import h5py
import numpy as np
import pytest
import torch
from stores import activation_layer, make_stimuli, rdm_layer, write_store

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.store.layout import KernelSpec, RdmSpec
from rdl_cli.store.store import Store

ROWS = [5, 0, 3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "teacher.h5"


@pytest.fixture
def store(path):
    """A store of one layer as activations in two views, as a kernel, and as an RDM."""
    spec, values = activation_layer(views=("identity", "hflip"))
    x = values[0].astype(np.float64)
    packed = (x @ x.T)[np.triu_indices(7)]
    rdm = ((x[:, None] - x) ** 2).mean(2)[np.triu_indices(7, 1)][None]
    layers = [
        (spec, values),
        (KernelSpec("kernel", "float32", "mse", 5), packed),
        (RdmSpec("rdm", 1, "float64", "mse"), rdm),
    ]
    return write_store(path, None, layers)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_activations_come_back(path, dtype):
    spec, values = activation_layer("pool1", (3, 2), ("identity", "hflip"), dtype)
    values[0, 0, 0] = np.nan
    layer = write_store(path, None, [(spec, values)]).layer("pool1")
    np.testing.assert_array_equal(layer.activations(), values)
    assert layer.activations().dtype == dtype and isinstance(layer.activations(), np.memmap)
    assert (layer.name, layer.shape, layer.views) == ("pool1", (3, 2), ("identity", "hflip"))
    assert (layer.distance, layer.dtype, layer.units, layer.n_rdms) == ("mse", dtype, None, 0)
    assert (layer.has_activations, layer.has_kernel, layer.has_rdms) == (True, False, False)
    assert layer.kind == "activations"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rdms_come_back_in_the_width_of_their_source(path, dtype):
    values = np.random.default_rng(2).random((2, 21)).astype(dtype)
    values[1, 3] = np.nan
    labels = ("BE", "Kö"), ("1", "2"), (0.05, 0.1)
    spec = RdmSpec("hIT", 2, dtype, "correlation", "IT", "1 - r", *labels)
    rdms = write_store(path, None, [(spec, values)]).rdms("hIT")
    np.testing.assert_array_equal(rdms.values, values)
    assert rdms.values.dtype == dtype
    assert (rdms.distance, rdms.region, rdms.unit) == ("correlation", "IT", "1 - r")
    assert (rdms.subjects, rdms.sessions, rdms.times) == labels
    assert rdms.stimuli == tuple(make_stimuli().names)


def test_rdms_without_labels_have_empty_ones(path):
    rdms = write_store(path, None, [rdm_layer(count=3)]).rdms("V1")
    assert rdms.subjects == rdms.sessions == ("",) * 3
    assert len(rdms.times) == 3 and np.isnan(rdms.times).all()


def test_layer_may_have_activations_and_rdms(path):
    store = write_store(path, None, [activation_layer("fc"), rdm_layer("fc", dtype="float64")])
    layer = store.layer("fc")
    assert store.layers == ("fc",) and layer.has_activations and layer.has_rdms
    assert (layer.dtype, layer.rdms().values.dtype) == (np.float32, np.float64)


def test_layer_knows_untrained_weights_and_reduced_activations(path):
    reduced = activation_layer("fc", untrained=True, pool="mean", project="pca:5")
    store = write_store(path, None, [reduced, rdm_layer()])
    assert store.layer("fc").untrained and not store.layer("V1").untrained
    assert store.layer("fc").attributes["project"] == "pca:5"


def test_layer_is_described_without_its_values(path):
    store = write_store(path, None, [activation_layer(), rdm_layer(count=2)])
    with h5py.File(path, "r+") as file:
        file["layers/fc/activations"][0, 0, 0] += 1
    layer = Store.open(path).layer("fc")
    assert (layer.shape, layer.dtype, layer.n_rdms) == ((5,), np.float32, 0)
    with pytest.raises(UserError, match="layer `fc` is not as it was written"):
        layer.activations()
    assert store.layer("V1").n_rdms == 2


def test_activations_are_a_private_map(path):
    store = write_store(path, None, [activation_layer()])
    before = np.array(store.layer("fc").activations())
    store.layer("fc").activations()[:] = 5
    np.testing.assert_array_equal(Store.open(path).layer("fc").activations(), before)


@pytest.mark.parametrize("name", ["fc", "kernel", "rdm"])
def test_distances_agree_whatever_is_stored(store, name):
    reps = torch.from_numpy(np.array(store.layer("fc").activations()[0])).double()
    expected = DISTANCES.find("mse")(reps, reps)
    layer = store.layer(name)
    torch.testing.assert_close(layer.distances(dtype=torch.float64), expected, rtol=2e-5, atol=0)
    some = layer.distances("mse", ROWS)
    assert some.dtype == torch.float32
    torch.testing.assert_close(some.double(), expected[ROWS][:, ROWS], rtol=2e-5, atol=0)


def test_distances_of_views_are_of_their_activations(store):
    reps = torch.from_numpy(store.layer("fc").activations()[[1, 0, 1], ROWS])
    expected = DISTANCES.find("correlation")(reps, reps)
    distances = store.layer("fc").distances("correlation", ROWS, np.array([1, 0, 1]))
    assert torch.equal(distances, expected)


def test_distances_keep_what_was_not_measured(path):
    spec, values = rdm_layer()
    values[0, 0] = np.nan
    distances = write_store(path, None, [(spec, values)]).layer("V1").distances(rows=[1, 0, 0])
    assert distances.isnan().tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert distances[1, 2] == 0


def test_distances_are_refused_where_they_are_unknown(store):
    with pytest.raises(UserError, match="in `mse`, not `cosine`"):
        store.layer("rdm").distances("cosine")
    with pytest.raises(UserError, match="`correlation`"):
        store.layer("kernel").distances("correlation")


def test_distances_need_one_rdm(path):
    store = write_store(path, None, [rdm_layer(count=2, subjects=("BE", "KO"))])
    layer = store.layer("V1")
    with pytest.raises(UserError, match="one RDM is needed") as error:
        layer.distances()
    assert error.value.hint == "choose one: V1@mean, V1@BE, V1@KO"
    assert layer.with_selection(layer.rdms().mean()).distances(rows=[0, 1])[0, 1] == 1


def test_inner_products_come_from_activations_or_a_kernel(store):
    for center in ("none", "stimuli"):
        expected = store.layer("fc").inner_products(ROWS, center=center)
        actual = store.layer("kernel").inner_products(ROWS, center=center)
        torch.testing.assert_close(actual.float(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="holds RDMs, not a kernel"):
        store.layer("rdm").inner_products()


def test_layer_refuses_what_it_does_not_hold(store):
    with pytest.raises(UserError, match="holds RDMs, not activations") as error:
        store.layer("rdm").activations()
    assert "--as activations" in error.value.hint
    with pytest.raises(UserError, match="holds activations, not RDMs"):
        store.rdms("fc")
    with pytest.raises(UserError, match="holds a kernel, not activations"):
        store.layer("kernel").representations()
