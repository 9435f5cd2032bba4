"""What item control keeps of an RDM, and what it destroys."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import condensed_pairs, to_square
from rdl_cli.rsa.control_rdms import CONTROLS, participation_ratio
from rdl_cli.rsa.distances import sqeuclidean
from rdl_cli.rsa.kernels import kernel_from_rdm
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
    return torch.linalg.eigvalsh(kernel_from_rdm(values))


def test_controls_accept_plug_ins(tmp_path, monkeypatch, rdm):
    (tmp_path / "turned_control.py").write_text(
        "def turned(values, labels, rng, *, factor: float = 1.0):\n"
        "    return factor * values.flip(0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    control = CONTROLS.find("turned_control:turned:factor=2")
    assert torch.equal(control(rdm, None, rng()), 2 * rdm.flip(0))


@pytest.mark.parametrize("name", CONTROLS.names())
def test_controls_destroy_the_geometry_and_are_reproducible(name, rdm):
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
def test_shuffle_and_random_keep_the_distribution_of_distances(name, rdm):
    assert torch.equal(CONTROLS.find(name)(rdm, None, rng()).sort().values, rdm.sort().values)


def test_shuffle_permutes_stimuli(rdm):
    control = CONTROLS.find("shuffle")(rdm, None, rng())
    order = torch.randperm(N, generator=rng())
    assert torch.equal(to_square(control), to_square(rdm)[order][:, order])
    torch.testing.assert_close(eigenvalues(control), eigenvalues(rdm))


def test_spectrum_keeps_eigenvalues_and_the_mean_but_no_clusters(rdm):
    control = CONTROLS.find("spectrum")(rdm, None, rng())
    torch.testing.assert_close(eigenvalues(control), eigenvalues(rdm), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(control.mean(), rdm.mean())
    i, j = condensed_pairs(N)
    within = LABELS[i] == LABELS[j]
    assert 0.9 < control[within].mean() / control[~within].mean() < 1.1, "clusters are gone"
    assert (control.sort().values - rdm.sort().values).abs().max() > 1


def test_spectrum_keeps_negative_eigenvalues():
    """As correlation distances, roots of distances and crossnobis may have."""
    points = torch.randn(N, 5, generator=rng(1), dtype=torch.float64)
    rdm = sqeuclidean(points, points)[condensed_pairs(N)].square()
    assert eigenvalues(rdm)[0] < -1
    torch.testing.assert_close(
        eigenvalues(CONTROLS.find("spectrum")(rdm, None, rng())), eigenvalues(rdm)
    )


def test_random_points_have_the_dimensions_of_the_rdm(rdm):
    points = torch.randn(500, 4, generator=rng(), dtype=torch.float64)
    assert participation_ratio(sqeuclidean(points, points)[condensed_pairs(500)]) == 4
    assert participation_ratio(torch.zeros(10)) == 1
    control = CONTROLS.find("random")(rdm, None, rng())
    i, j = condensed_pairs(N)
    within = LABELS[i] == LABELS[j]
    assert (
        rdm[within].mean() < 0.7 * rdm[~within].mean()
        and 0.9 < control[within].mean() / control[~within].mean() < 1.1
    )


def test_category_is_0_within_and_1_between(rdm):
    control = to_square(CONTROLS.find("category")(rdm, LABELS, rng()))
    assert torch.equal(control, (LABELS[:, None] != LABELS[None]).double())


@pytest.mark.parametrize("name", sorted(set(CONTROLS.names()) - {"spectrum"}))
def test_controls_keep_nan(name, gappy):
    control = CONTROLS.find(name)(gappy, LABELS, rng())
    assert int(control.isnan().sum()) == int(gappy.isnan().sum())
    if name == "shuffle":
        assert not torch.equal(control.isnan(), gappy.isnan())
    else:
        assert torch.equal(control.isnan(), gappy.isnan())
    assert name == "category" or torch.equal(
        control.sort().values.nan_to_num(-1), gappy.sort().values.nan_to_num(-1)
    )


def test_controls_name_what_they_need(gappy, rdm):
    with pytest.raises(UserError, match="63 of 435 pairs were not measured"):
        CONTROLS.find("spectrum")(gappy, None, rng())
    with pytest.raises(UserError, match="needs categories") as met:
        CONTROLS.find("category")(rdm, None, rng())
    assert "--labels" in met.value.hint
    for labels in (torch.zeros(N, dtype=torch.long), torch.arange(N)):
        with pytest.raises(UserError, match="several categories"):
            CONTROLS.find("category")(rdm, labels, rng())
    with pytest.raises(UserError, match="did you mean `shuffle`"):
        CONTROLS.find("shufle")
