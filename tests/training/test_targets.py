"""A target is that of exactly the picture that the student sees, whatever it comes from."""

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
from rdl_cli.store.layout import ActivationSpec, RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store
from rdl_cli.training.targets import LiveTarget, StoreTarget, root_mean_square

N = 12
VIEWS = ("identity", "hflip")
REPS = np.random.default_rng(0).normal(size=(2, N, 3, 2)).astype(np.float32)
RDM = pdist(REPS[0].reshape(N, -1), "sqeuclidean").astype(np.float32)
ROWS = torch.full((40,), -1)
IDS = torch.arange(N) * 3  # images of these ids lie in the store, in reverse
ROWS[IDS] = torch.arange(N).flip(0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("targets") / "store.h5"
    stimuli = Stimuli(np.array([f"{i:064x}" for i in range(N)], "S64"))
    specs = [
        ActivationSpec("maps", (3, 2), "float32", VIEWS, "correlation"),
        ActivationSpec("half", (3, 2), "float16", VIEWS),
        RdmSpec("rdm", 1, "float32", "sqeuclidean"),
        RdmSpec("holes", 1, "float32", "sqeuclidean"),
        RdmSpec("brain", 2, "float32", "crossnobis"),
    ]
    with create_store(path, stimuli, {}, specs, "f") as writer:
        for view in range(2):
            for layer in ("maps", "half"):
                writer.write(layer, 0, REPS[view], view)
        writer.write_rdm("rdm", 0, 0, RDM)
        writer.write_rdm("holes", 0, 0, np.where(np.arange(len(RDM)) % 3, RDM, np.nan))
        for index in range(2):
            writer.write_rdm("brain", index, 0, RDM)
    return Store.open(path)


def comparison_batch(ids, views=None):
    ids = torch.tensor(ids)
    return Batch(
        torch.zeros(len(ids), 1, 2, 2),
        torch.zeros_like(ids),
        ids,
        torch.zeros_like(ids) if views is None else torch.tensor(views),
    )


def test_activations_are_those_of_the_image_in_its_view(store):
    target = StoreTarget(store, ["maps", "half"], ROWS, VIEWS, CPU)
    found = target.representations("maps", comparison_batch([0, 33, 3, 0], [0, 1, 1, 1]))
    expected = np.stack([REPS[0, 11], REPS[1, 0], REPS[1, 10], REPS[1, 11]])
    assert found.dtype == torch.float32 and np.array_equal(found, expected)
    assert np.array_equal(
        target.representations("half", comparison_batch([0, 33], [0, 1])),
        expected[:2].astype(np.float16).astype(np.float32),
    )
    assert (
        target.shape("maps") == (3, 2)
        and target.distance("maps") == "correlation"
        and target.distance("half") == "mse"
    )


@pytest.mark.parametrize("distance", DISTANCES.names())
def test_distances_of_activations_are_those_of_the_whole_rdm(store, distance):
    whole = DISTANCES.find(distance)(*(torch.from_numpy(REPS[0]),) * 2)
    found = StoreTarget(store, ["maps"], ROWS, ("identity",), CPU).distances(
        "maps", comparison_batch([3, 0, 30]), distance
    )
    torch.testing.assert_close(found, whole[[10, 11, 1]][:, [10, 11, 1]], rtol=1e-4, atol=1e-5)


def test_an_rdm_is_cut_to_the_images_of_the_step(store):
    target = StoreTarget(store, ["rdm", "holes"], ROWS, ("identity",), CPU)
    rows = [10, 11, 1, 10]
    found = target.distances("rdm", comparison_batch([3, 0, 30, 3]), "sqeuclidean")
    assert np.array_equal(found, squareform(RDM)[rows][:, rows]), (
        "the same image twice is at distance 0"
    )
    holes = target.distances("holes", comparison_batch(IDS.tolist()), "sqeuclidean")
    missing = squareform(np.where(np.arange(len(RDM)) % 3, 0.0, 1.0)).astype(bool)
    assert np.array_equal(holes.isnan().numpy(), missing[::-1, ::-1]), "NaN is not measured"


def test_what_a_store_does_not_hold_is_refused(store):
    rdms = StoreTarget(store, ["rdm"], ROWS, ("identity",), CPU)
    for ask in (rdms.representations, lambda layer, _: rdms.shape(layer)):
        with pytest.raises(UserError, match="holds only an RDM of `rdm`"):
            ask("rdm", comparison_batch([0]))
    with pytest.raises(UserError, match="is in `sqeuclidean`; the objective asks for `mse`"):
        rdms.distances("rdm", comparison_batch([0, 3]), "mse")
    with pytest.raises(UserError, match="of the pictures only; training shows 2 views"):
        StoreTarget(store, ["rdm"], ROWS, VIEWS, CPU)
    with pytest.raises(
        UserError, match="holds the views identity, hflip of `maps`; training shows identity, shift"
    ):
        StoreTarget(store, ["maps"], ROWS, ("identity", "shift"), CPU)
    with pytest.raises(UserError, match="brain"):
        StoreTarget(store, ["brain"], ROWS, ("identity",), CPU)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return build_network("mnist-cnn:width=0.25", InputShape(1, 8, 8), 10)


def images(n):
    ids = torch.arange(n)
    return Batch(
        torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        ids,
        ids,
        torch.zeros_like(ids),
    )


def test_a_live_teacher_is_asked_once_a_step_without_dropout_or_gradient(teacher):
    layers = ["pool1", "fc", "logits"]
    target = LiveTarget(teacher.train(), layers, layer_shapes(teacher, InputShape(1, 8, 8)))
    calls = []
    handle = teacher.conv1.register_forward_hook(lambda *_: calls.append(1))
    shown = images(5)
    found = {layer: target.representations(layer, shown) for layer in layers}
    distances = target.distances("fc", shown, "mse")
    assert (
        len(calls) == 1
        and not teacher.training
        and not any(p.requires_grad for p in teacher.parameters())
    )
    target.representations("fc", images(5))
    handle.remove()
    assert len(calls) == 2, "another step is another batch"
    expected = forward_with_layers(teacher, shown.images, layers)[1]
    assert all(
        torch.equal(found[layer], expected[layer]) and not found[layer].requires_grad
        for layer in layers
    )
    assert torch.equal(
        distances, DISTANCES.find("mse")(expected["fc"], expected["fc"])
    ) and target.shape("pool1") == (8, 3, 3)


def test_a_live_teacher_computes_in_its_own_width(teacher):
    target = LiveTarget(teacher, ["fc"], layer_shapes(teacher, InputShape(1, 8, 8)))
    shown = images(5)
    wide = shown._replace(images=shown.images.double())
    assert torch.equal(target.representations("fc", wide), target.representations("fc", shown))


class TestRootMeanSquare:
    def calibration(self, n=N):
        ids = IDS[:n]
        return Batch(torch.zeros(n, 1, 2, 2), torch.zeros(n), ids, torch.zeros(n, dtype=torch.long))

    def test_is_that_of_all_pairs_where_there_are_few(self, store):
        target = StoreTarget(store, ["rdm", "holes"], ROWS, ("identity",), CPU)
        found = root_mean_square(target, "rdm", "sqeuclidean", self.calibration(), Seeds(0))
        assert found == pytest.approx(float(np.sqrt((RDM.astype(float) ** 2).mean())), rel=1e-6)
        measured = RDM[np.arange(len(RDM)) % 3 > 0].astype(float)
        holes = root_mean_square(target, "holes", "sqeuclidean", self.calibration(), Seeds(0))
        assert holes == pytest.approx(float(np.sqrt((measured**2).mean())), rel=1e-6), (
            "NaN is left out"
        )

    def test_is_near_that_of_all_pairs_where_there_are_many(self):
        reps = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))

        class Many:
            def distances(self, layer, comparison_batch, distance):
                return DISTANCES.find(distance)(
                    reps[comparison_batch.ids], reps[comparison_batch.ids]
                )

        ids = torch.arange(400)
        every = Batch(torch.zeros(400, 1), ids, ids, ids)
        exact = float(np.sqrt((pdist(reps.numpy(), "sqeuclidean") ** 2).mean()))
        found = [
            root_mean_square(Many(), "any", "sqeuclidean", every, Seeds(seed)) for seed in (0, 0, 1)
        ]
        assert found[0] == found[1] != found[2] and found == pytest.approx([exact] * 3, rel=0.05)

    @pytest.mark.parametrize(("value", "said"), [(0.0, "are all 0"), (float("nan"), "are all nan")])
    def test_nothing_to_learn_is_refused(self, value, said):
        class Flat:
            def distances(self, layer, comparison_batch, distance):
                return torch.full((len(comparison_batch.ids),) * 2, value)

        with pytest.raises(UserError, match=said):
            root_mean_square(Flat(), "dead", "mse", self.calibration(), Seeds(0))
