"""Pooling finds the channels of a feature map, or asks."""

import numpy as np
import pytest

from rdl_cli.commands.export_rdms.reduction import Reduction
from rdl_cli.core.errors import UserError


@pytest.fixture
def maps():
    """Feature maps (n, c, h, w)."""
    return np.random.default_rng(0).standard_normal((3, 6, 4, 4)).astype(np.float32)


def test_avg_pools_the_same_map_alike_wherever_its_channels_are(maps):
    pooled = Reduction("avg")(maps)
    np.testing.assert_array_equal(pooled, maps.mean((2, 3)))
    last = Reduction("avg")(np.moveaxis(maps, 1, 3))
    np.testing.assert_allclose(last, pooled, atol=1e-6)
    assert Reduction("avg").shape("x", (6, 4, 4)) == Reduction("avg").shape("x", (4, 4, 6)) == (6,)


@pytest.mark.parametrize("shape", [(4, 4, 4), (6, 4, 5), (1, 1, 1)])
def test_avg_asks_where_the_channels_are_if_the_shape_does_not_tell(shape):
    with pytest.raises(UserError, match="first or the last axis") as caught:
        Reduction("avg").shape("features", shape)
    assert "avg-channels-last" in caught.value.hint
    assert Reduction("avg-channels-first").shape("features", shape) == shape[:1]
    assert Reduction("avg-channels-last").shape("features", shape) == shape[2:]


def test_declared_order_decides_over_the_lengths(maps):
    pooled = Reduction("avg-channels-last")(maps)
    np.testing.assert_allclose(pooled, maps.mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("pool", ["avg", "avg-channels-first", "avg-channels-last"])
def test_tokens_are_averaged_and_vectors_kept(pool):
    tokens = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(Reduction(pool)(tokens), tokens.mean(1))
    np.testing.assert_array_equal(Reduction(pool)(tokens[:, 0]), tokens[:, 0])
