"""Pairs on which subjects agree count more."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.reliability import reliability

torch.set_num_threads(1)


def subjects(s=200, spread=(0.5, 1.0, 2.0), pairs=100):
    """The same RDM with noise whose standard deviation differs between thirds of the pairs."""
    rng = torch.Generator().manual_seed(0)
    sd = torch.tensor(spread).repeat_interleave(pairs).double()
    truth = torch.randn(len(sd), generator=rng, dtype=torch.float64) * 3
    return truth + sd * torch.randn(s, len(sd), generator=rng, dtype=torch.float64)


def test_weights_are_one_over_the_variance():
    weights = reliability(subjects())
    noisy, usual, quiet = (weights[k : k + 100].mean() for k in (200, 100, 0))
    assert quiet / usual == pytest.approx(4, rel=0.15) and usual / noisy == pytest.approx(
        4, rel=0.15
    )
    assert weights.mean() == pytest.approx(1)


def test_amplitudes_do_not_matter():
    rdms = subjects(8)
    scale = torch.linspace(0.1, 50, 8)[:, None].double()
    torch.testing.assert_close(reliability(rdms * scale + scale), reliability(rdms))


def test_no_pair_counts_for_everything():
    rdms = subjects(4)
    rdms[:, 7] = rdms[:, 7].mean()
    assert reliability(rdms).max() < 20 and reliability(rdms)[7] == reliability(rdms).max()


def test_pairs_that_fewer_than_two_have_count_nothing():
    rdms = subjects(4)
    rdms[:, 3] = torch.nan
    rdms[1:, 4] = torch.nan
    rdms[2:, 5] = torch.nan
    weights = reliability(rdms)
    assert weights.isfinite().all() and weights[3] == weights[4] == 0 < weights[5]


def test_one_subject_cannot_tell():
    with pytest.raises(UserError, match="at least 2 subjects"):
        reliability(subjects(1))


def test_pairs_that_no_two_subjects_share_cannot_tell():
    rdms = subjects(2, pairs=3)
    rdms[0, :4], rdms[1, 4:] = torch.nan, torch.nan
    with pytest.raises(
        UserError, match="none of the 9 pairs of stimuli was measured in 2 of the 2 subjects"
    ) as error:
        reliability(rdms)
    assert "pairs=equal" in error.value.hint


def test_subjects_who_agree_on_everything_make_all_pairs_equal():
    assert reliability(subjects(1).expand(3, -1)).allclose(torch.ones(300).double())
