"""What each control keeps of an RDM, and what it destroys."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import condensed_pairs, to_square
from rdl_cli.rsa.control_rdms import CONTROLS, participation_ratio
from rdl_cli.rsa.distances import sqeuclidean
from rdl_cli.rsa.kernels import kernel_of_rdm
from rdl_cli.rsa.measures import spearman

torch.set_num_threads(1)
N = 30
LABELS = torch.arange(N) % 3


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def rdm():
    """Three clusters in five dimensions."""
    points = (
        torch.randn(N, 5, generator=rng(1), dtype=torch.float64)
        + 3 * torch.eye(5, dtype=torch.float64)[LABELS]
    )
    return sqeuclidean(points, points)[condensed_pairs(N)]


@pytest.fixture
def gappy(rdm):
    rdm[::7] = torch.nan
    return rdm


def eigenvalues(values):
    return torch.linalg.eigvalsh(kernel_of_rdm(values))


@pytest.mark.parametrize("name", CONTROLS.names())
def test_every_control_destroys_the_geometry_and_can_be_made_again(name, rdm):
    control = CONTROLS.find(name)
    one = control(rdm, LABELS, rng())
    assert one.shape == rdm.shape and one.dtype == rdm.dtype and one.isfinite().all()
    assert torch.equal(one, control(rdm, LABELS, rng()))
    if name != "category":  # which is what the labels share with the brain
        assert not torch.equal(one, control(rdm, LABELS, rng(1)))
        assert (
            abs(
                torch.stack([spearman(control(rdm, LABELS, rng(s)), rdm) for s in range(20)]).mean()
            )
            < 0.1
        )
    assert control(rdm.float(), LABELS, rng()).dtype == torch.float32


@pytest.mark.parametrize("name", ["shuffle", "random"])
def test_the_distribution_of_distances_is_kept(name, rdm):
    assert torch.equal(CONTROLS.find(name)(rdm, None, rng()).sort().values, rdm.sort().values)


def test_shuffling_only_renames_stimuli(rdm):
    found = CONTROLS.find("shuffle")(rdm, None, rng())
    order = torch.randperm(N, generator=rng())
    assert torch.equal(to_square(found), to_square(rdm)[order][:, order])
    torch.testing.assert_close(eigenvalues(found), eigenvalues(rdm))


def test_spectrum_keeps_eigenvalues_and_the_mean_and_not_the_distribution(rdm):
    found = CONTROLS.find("spectrum")(rdm, None, rng())
    torch.testing.assert_close(eigenvalues(found), eigenvalues(rdm), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.mean(), rdm.mean())
    i, j = condensed_pairs(N)
    within = LABELS[i] == LABELS[j]
    assert 0.9 < found[within].mean() / found[~within].mean() < 1.1, "clusters are gone"
    assert (found.sort().values - rdm.sort().values).abs().max() > 1


def test_spectrum_keeps_eigenvalues_below_zero():
    """As correlation distances, roots of distances and crossnobis may have."""
    points = torch.randn(N, 5, generator=rng(1), dtype=torch.float64)
    rdm = sqeuclidean(points, points)[condensed_pairs(N)].square()
    assert eigenvalues(rdm)[0] < -1
    torch.testing.assert_close(
        eigenvalues(CONTROLS.find("spectrum")(rdm, None, rng())), eigenvalues(rdm)
    )


def test_random_points_lie_in_as_many_dimensions_as_the_rdm(rdm):
    points = torch.randn(500, 4, generator=rng(), dtype=torch.float64)
    assert participation_ratio(sqeuclidean(points, points)[condensed_pairs(500)]) == 4
    assert participation_ratio(torch.zeros(10)) == 1
    found = CONTROLS.find("random")(rdm, None, rng())
    i, j = condensed_pairs(N)
    within = LABELS[i] == LABELS[j]
    assert (
        rdm[within].mean() < 0.7 * rdm[~within].mean()
        and 0.9 < found[within].mean() / found[~within].mean() < 1.1
    )


def test_categories_are_all_that_is_left(rdm):
    found = to_square(CONTROLS.find("category")(rdm, LABELS, rng()))
    assert torch.equal(found, (LABELS[:, None] != LABELS[None]).double())


@pytest.mark.parametrize("name", sorted(set(CONTROLS.names()) - {"spectrum"}))
def test_what_was_not_measured_stays_so(name, gappy):
    found = CONTROLS.find(name)(gappy, LABELS, rng())
    assert int(found.isnan().sum()) == int(gappy.isnan().sum())
    if name == "shuffle":
        assert not torch.equal(found.isnan(), gappy.isnan())
    else:
        assert torch.equal(found.isnan(), gappy.isnan())
    assert name == "category" or torch.equal(
        found.sort().values.nan_to_num(-1), gappy.sort().values.nan_to_num(-1)
    )


def test_errors_say_what_is_needed(gappy, rdm):
    with pytest.raises(UserError, match="63 of 435 pairs were not measured"):
        CONTROLS.find("spectrum")(gappy, None, rng())
    with pytest.raises(UserError, match="needs categories") as met:
        CONTROLS.find("category")(rdm, None, rng())
    assert "--labels" in met.value.hint
    for labels in (torch.zeros(N), torch.arange(N)):
        with pytest.raises(UserError, match="several categories"):
            CONTROLS.find("category")(rdm, labels, rng())
    with pytest.raises(UserError, match="did you mean `shuffle`"):
        CONTROLS.find("shufle")
