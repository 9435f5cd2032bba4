"""rsatoolbox and published numbers on real brains as the references of the noise ceiling.

Pairs on which subjects agree have a higher reliability.
"""

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from rsatoolbox.inference import boot_noise_ceiling
from rsatoolbox.rdm import RDMs
from scipy.spatial.distance import squareform
from scipy.stats import rankdata, spearmanr

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.measures import MEASURES
from rdl_cli.rsa.noise_ceiling import noise_ceiling, reliability

torch.set_num_threads(1)
spearman = MEASURES.find("spearman")
RSATOOLBOX = {
    "pearson": "corr",
    "cosine": "cosine",
    "spearman": "spearman",
    "rho-a": "rho-a",
    "tau-a": "tau-a",
}
RSATOOLBOX |= {"whitened-cosine": "cosine_cov", "whitened-correlation": "corr_cov"}

FOLDER = Path(__file__).resolve().parents[2] / "../shared/data/brain"
needs_brains = pytest.mark.skipif(
    not FOLDER.exists(), reason="the brain RDMs are not beside this checkout"
)


def condensed(matrices):
    return torch.from_numpy(
        np.stack([squareform(m, checks=False) for m in np.asarray(matrices, dtype=np.float64)])
    )


def cichy(region):
    with h5py.File(FOLDER / "cichy92/target_fmri.mat") as file:
        return condensed(np.moveaxis(file[f"{region}_RDMs"][()], -1, 0))


def kriegeskorte():
    """Human IT, 4 subjects, their two sessions averaged."""
    loaded = scipy.io.loadmat(FOLDER / "krieg92/92_brainRDMs.mat")["RDMs"][0]["RDM"]
    return condensed(
        [np.mean([session.astype(float) for session in subject], 0) for subject in loaded]
    )


def behaviour():
    return condensed(
        list(scipy.io.loadmat(FOLDER / "krieg92/92_behavRDMs.mat")["rdms_behav_92"][0]["RDM"])
    )


def monkey():
    loaded = scipy.io.loadmat(
        FOLDER / "krieg92/Kriegeskorte_Neuron2008_supplementalData.mat", simplify_cells=True
    )["RDMs_mIT_hIT_fig1"]
    return torch.from_numpy(np.asarray(loaded[0]["RDM"], dtype=np.float64).ravel())


def model(name):
    loaded = scipy.io.loadmat(FOLDER / "krieg92/92_modelRDMs.mat", simplify_cells=True)["Models"]
    return condensed([model["RDM"] for model in loaded if name in model["name"].lower()])[0]


def subjects(s=5, n=9):
    rng = np.random.default_rng(0)
    return torch.from_numpy(
        rng.random(n * (n - 1) // 2) + rng.random((s, 1)) * rng.random((s, n * (n - 1) // 2))
    )


@pytest.mark.parametrize("name", RSATOOLBOX)
def test_noise_ceiling_is_rsatoolboxs(name):
    rdms = subjects()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own note that ranks are a heuristic for tau
        expected = boot_noise_ceiling(RDMs(rdms.numpy()), method=RSATOOLBOX[name])
    np.testing.assert_allclose(
        noise_ceiling(MEASURES.find(name), rdms), expected, rtol=0, atol=1e-12
    )


@needs_brains
@pytest.mark.parametrize(
    "read,lower,upper",
    [
        (lambda: cichy("IT"), 0.453, 0.542),
        (lambda: cichy("EVC"), 0.242, 0.392),
        (kriegeskorte, 0.372, 0.666),
        (behaviour, 0.477, 0.577),
    ],
    ids=["cichy IT", "cichy EVC", "kriegeskorte hIT", "behaviour"],
)
def test_noise_ceiling_of_real_brains(read, lower, upper):
    assert noise_ceiling(spearman, read()) == pytest.approx((lower, upper), abs=6e-4)


@needs_brains
def test_spearman_of_real_brains():
    it, evc, human = cichy("IT").mean(0), cichy("EVC").mean(0), kriegeskorte().mean(0)
    for first, second, value in (
        (it, human, 0.557),
        (it, monkey(), 0.486),
        (human, monkey(), 0.439),
        (behaviour().mean(0), human, 0.392),
        (model("animacy"), human, 0.588),
        (evc, model("silhouette"), 0.509),
    ):
        assert spearman(first, second).item() == pytest.approx(value, abs=6e-4)


def test_noise_ceiling_of_equal_subjects_is_1():
    rdms = subjects(1).expand(4, -1)
    assert noise_ceiling(spearman, rdms) == pytest.approx((1, 1))


def test_noise_ceiling_lower_leaves_the_subject_out():
    """Subjects with nothing in common: 0 from below, 1/√S from above."""
    rdms = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 7998)))
    lower, upper = noise_ceiling(MEASURES.find("pearson"), rdms)
    assert abs(lower) < 0.02 and upper == pytest.approx(0.5, abs=0.02)


def test_noise_ceiling_takes_nan_from_the_other_subjects():
    rdms = subjects()
    rdms[2, :5] = torch.nan
    lower, upper = noise_ceiling(spearman, rdms)
    assert torch.isfinite(lower) and lower < upper
    assert (lower.item(), upper.item()) == pytest.approx(
        tuple(map(float, noise_ceiling(spearman, subjects()))), abs=0.1
    )


@pytest.mark.parametrize("name", ["spearman", "rho-a"])
def test_noise_ceiling_with_gaps_holds_the_true_rdm(name):
    measure = MEASURES.find(name)
    missing = np.array([0.75, 0.75, 0.25, 0.25, 0.25])[:, None]
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = rng.random(66)
        rdms = truth + 0.3 * rng.random((5, 66))
        rdms = torch.from_numpy(np.where(rng.random((5, 66)) < missing, np.nan, rdms))
        lower, upper = noise_ceiling(measure, rdms)
        assert lower < measure(torch.from_numpy(truth), rdms).mean() < upper


def test_noise_ceiling_averages_ranks_as_shares_of_the_measured_pairs():
    rng = np.random.default_rng(0)
    rdms = rng.random(66) + 0.3 * rng.random((5, 66))
    rdms[rng.random(rdms.shape) < 0.25] = np.nan
    shares = [(rankdata(rdm, nan_policy="omit") - 1) / (np.sum(~np.isnan(rdm)) - 1) for rdm in rdms]

    def compare(a, b):
        both = ~(np.isnan(a) | np.isnan(b))
        return spearmanr(a[both], b[both]).statistic

    others = [np.nanmean(np.delete(shares, s, 0), 0) for s in range(5)]
    expected = [
        np.mean([compare(mean, rdm) for mean, rdm in zip(others, rdms, strict=True)]),
        np.mean([compare(np.nanmean(shares, 0), rdm) for rdm in rdms]),
    ]
    assert noise_ceiling(spearman, torch.from_numpy(rdms)) == pytest.approx(expected)


def test_noise_ceiling_refuses_one_subject_and_kernels():
    with pytest.raises(UserError, match="at least 2 subjects; there is 1"):
        noise_ceiling(spearman, subjects(1))
    with pytest.raises(UserError, match="compares kernels"):
        noise_ceiling(MEASURES.find("cka"), subjects())


def noisy_subjects(s=200, spread=(0.5, 1.0, 2.0), pairs=100):
    """The same RDM with noise whose standard deviation differs between thirds of the pairs."""
    rng = torch.Generator().manual_seed(0)
    sd = torch.tensor(spread).repeat_interleave(pairs).double()
    truth = torch.randn(len(sd), generator=rng, dtype=torch.float64) * 3
    return truth + sd * torch.randn(s, len(sd), generator=rng, dtype=torch.float64)


def test_reliability_is_one_over_the_variance():
    weights = reliability(noisy_subjects())
    noisy, usual, quiet = (weights[k : k + 100].mean() for k in (200, 100, 0))
    assert quiet / usual == pytest.approx(4, rel=0.15) and usual / noisy == pytest.approx(
        4, rel=0.15
    )
    assert weights.mean() == pytest.approx(1)


def test_reliability_ignores_amplitudes():
    rdms = noisy_subjects(8)
    scale = torch.linspace(0.1, 50, 8)[:, None].double()
    torch.testing.assert_close(reliability(rdms * scale + scale), reliability(rdms))


def test_reliability_bounds_the_weight_of_a_pair():
    rdms = noisy_subjects(4)
    rdms[:, 7] = rdms[:, 7].mean()
    assert reliability(rdms).max() < 20 and reliability(rdms)[7] == reliability(rdms).max()


def test_reliability_is_0_for_pairs_of_fewer_than_two_noisy_subjects():
    rdms = noisy_subjects(4)
    rdms[:, 3] = torch.nan
    rdms[1:, 4] = torch.nan
    rdms[2:, 5] = torch.nan
    weights = reliability(rdms)
    assert weights.isfinite().all() and weights[3] == weights[4] == 0 < weights[5]


def test_reliability_refuses_one_subject():
    with pytest.raises(UserError, match="at least 2 subjects"):
        reliability(noisy_subjects(1))


def test_reliability_refuses_subjects_without_common_pairs():
    rdms = noisy_subjects(2, pairs=3)
    rdms[0, :4], rdms[1, 4:] = torch.nan, torch.nan
    with pytest.raises(
        UserError, match="none of the 9 pairs of stimuli was measured in 2 of the 2 subjects"
    ) as error:
        reliability(rdms)
    assert "pairs=equal" in error.value.hint


def test_reliability_of_equal_subjects_is_1():
    assert reliability(noisy_subjects(1).expand(3, -1)).allclose(torch.ones(300).double())
