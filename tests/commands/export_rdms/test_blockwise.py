"""RDMs in blocks equal SciPy's."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from rdl_cli.commands.export_rdms import blockwise
from rdl_cli.core.errors import UserError
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.store.layout import RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

CPU = torch.device("cpu")
SCIPY = {
    "mse": lambda x: pdist(x, "sqeuclidean") / x.shape[1],
    "sqeuclidean": lambda x: pdist(x, "sqeuclidean"),
    "euclidean": lambda x: pdist(x, "euclidean"),
    "cosine": lambda x: pdist(x, "cosine"),
    "correlation": lambda x: pdist(x, "correlation"),
}


@pytest.fixture
def written(tmp_path):
    """Return `written(reps, distance)`, the RDM as it is read from a store."""

    def write(reps, distance):
        stimuli = Stimuli(np.array([f"{i:064x}" for i in range(len(reps))], "S64"))
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
        with create_store(
            path, stimuli, {}, [RdmSpec("layer", 1, "float32", distance)], "f"
        ) as writer:
            blockwise.write_rdm(writer, "layer", reps, distance, CPU)
        return np.array(Store.open(path).rdms("layer").values[0])

    return write


def test_distances_are_all_in_scipy():
    assert DISTANCES.names() == sorted(SCIPY)


@pytest.mark.parametrize("distance", SCIPY)
def test_write_rdm_equals_pdist_for_all_block_sizes(distance, written, monkeypatch):
    reps = np.random.default_rng(0).normal(size=(37, 4, 3)).astype(np.float32)
    expected = SCIPY[distance](reps.reshape(37, -1).astype(float))
    for size, columns in ((1 << 24, 4096), (37 * 5, 4096), (37, 10), (1, 1)):
        monkeypatch.setattr(blockwise, "DISTANCES_PER_BLOCK", size)
        monkeypatch.setattr(blockwise, "COLUMNS_PER_BLOCK", columns)
        np.testing.assert_allclose(written(reps, distance), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_write_rdm_of_few_stimuli(n, written):
    reps = np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)
    np.testing.assert_allclose(written(reps, "mse"), SCIPY["mse"](reps.astype(float)), rtol=1e-5)


@pytest.mark.parametrize("dead", [0, 3, 8])
@pytest.mark.parametrize("distance", ["cosine", "correlation"])
def test_write_rdm_refuses_a_constant_row(distance, dead, written, monkeypatch):
    monkeypatch.setattr(blockwise, "DISTANCES_PER_BLOCK", 9 * 2)
    reps = np.random.default_rng(0).random((9, 5)).astype(np.float32)
    reps[dead] = 0
    with pytest.raises(
        UserError,
        match=rf"the RDM of `layer` has 1 constant rows: stimulus {dead} is 0\.5 from every other",
    ):
        written(reps, distance)
    assert written(reps, "mse").any()


def test_write_rdm_refuses_equal_patterns(written):
    with pytest.raises(UserError, match=r"has 9 constant rows: stimulus 0 is 0 from every other"):
        written(np.ones((9, 5), np.float32), "mse")
