"""Published RDMs of brains: each file reads, with its labels and exact values."""

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.stats import spearmanr

from rdl_cli.core.errors import UserError
from rdl_cli.io.read import read_rdms
from rdl_cli.io.stimuli import read_mat_stimuli
from rdl_cli.io.write import WRITERS, write_rdms
from rdl_cli.rsa.rdms import RDMs

BRAIN = Path(__file__).resolve().parents[2] / "../shared/data/brain"
KRIEG, CICHY = BRAIN / "krieg92", BRAIN / "cichy92"
FILES = {
    "hIT": KRIEG / "92_brainRDMs.mat",
    "behaviour": KRIEG / "92_behavRDMs.mat",
    "models": KRIEG / "92_modelRDMs.mat",
    "published": KRIEG / "Kriegeskorte_Neuron2008_supplementalData.mat",
    "cichy": CICHY / "target_fmri.mat",
}
pytestmark = pytest.mark.skipif(
    not BRAIN.exists(), reason="the measured data sets are not beside the project"
)


@pytest.fixture(scope="module")
def real() -> dict[str, list[RDMs]]:
    return {name: read_rdms([path]) for name, path in FILES.items()}


def test_read_rdms_human_it_has_four_subjects_in_two_sessions(real):
    (hit,) = real["hIT"]
    assert hit.region == "hIT" and hit.values.shape == (8, 4186) and hit.values.dtype == np.float32
    assert sorted(zip(hit.subjects, hit.sessions, strict=True)) == [
        (s, t) for s in ("BE", "KO", "SN", "TI") for t in "12"
    ]
    assert hit.distance == "correlation" and any("1 - r" in note for note in hit.notes)
    assert "4 subjects × 2 sessions" in str(hit)


def test_read_rdms_behaviour_has_sixteen_subjects_and_an_unknown_distance(real):
    (judged,) = real["behaviour"]
    assert judged.region == "simJudge" and judged.subjects == tuple(
        f"subject{s}" for s in range(1, 17)
    )
    assert judged.distance == "" and judged.values.dtype == np.float64


def test_read_rdms_models_are_eight_regions_in_the_width_of_their_source(real):
    names = [
        "animacy",
        "FaceBodyManmadeNatobj",
        "monkeyIT",
        "EVA",
        "HMAX",
        "V1",
        "Silhouette",
        "RADON",
    ]
    assert [entry.region for entry in real["models"]] == names
    assert [entry.values.dtype.name for entry in real["models"]] == ["float32"] * 2 + [
        "float64"
    ] + ["float32"] + ["float64"] * 4
    assert all(entry.values.shape == (1, 4186) for entry in real["models"])


def test_read_rdms_the_published_vectors_are_two_regions(real):
    assert [entry.region for entry in real["published"]] == ["mIT_674neurons", "hITvisStim_316vx"]
    assert all(entry.n_stimuli == 92 and len(entry.values) == 1 for entry in real["published"])
    assert any("categoryVectors" in note for note in real["published"][0].notes)


def test_read_rdms_fmri_of_fifteen_subjects_keeps_its_subjects_in_order(real):
    assert [entry.region for entry in real["cichy"]] == ["EVC_RDMs", "IT_RDMs"]
    i, j = np.triu_indices(92, 1)
    with h5py.File(FILES["cichy"]) as file:
        for entry in real["cichy"]:
            assert entry.subjects == tuple(map(str, range(1, 16)))
            raw = file[entry.region][()].T  # MATLAB's (15, 92, 92)
            assert (
                np.abs(raw - raw.transpose(0, 2, 1)).max() < 1e-14
                and not raw[:, np.arange(92), np.arange(92)].any()
            )
            assert np.array_equal(entry.values, raw[:, i, j])


def test_read_rdms_struct_arrays_are_symmetric_in_the_file_and_come_out_bit_for_bit(real):
    i, j = np.triu_indices(92, 1)
    for name, variable in (("hIT", "RDMs"), ("behaviour", "rdms_behav_92"), ("models", "Models")):
        structs = scipy.io.loadmat(FILES[name])[variable]
        assert all(
            np.array_equal(s["RDM"], s["RDM"].T) and not np.diagonal(s["RDM"]).any()
            for s in structs.flat
        )
        rows = np.concatenate([entry.values for entry in real[name]])
        assert np.array_equal(
            np.stack([s["RDM"][i, j].astype(rows.dtype) for s in structs.flat]), rows
        )


def test_read_rdms_mean_rdms_are_as_similar_as_they_are_known_to_be(real):
    mean = {entry.region: entry.values.mean(0) for rdms in real.values() for entry in rdms}
    known = {
        ("IT_RDMs", "hITvisStim_316vx"): 0.557,
        ("IT_RDMs", "mIT_674neurons"): 0.486,
        ("hITvisStim_316vx", "mIT_674neurons"): 0.439,
        ("simJudge", "hITvisStim_316vx"): 0.392,
        ("animacy", "hITvisStim_316vx"): 0.588,
        ("EVC_RDMs", "Silhouette"): 0.509,
    }
    imported = {
        pair: round(float(spearmanr(mean[pair[0]], mean[pair[1]]).statistic), 3) for pair in known
    }
    assert imported == known


def test_read_rdms_images_come_from_the_published_file():
    pictures = read_mat_stimuli(FILES["published"])
    assert pictures.images.shape == (92, 3, 175, 175) and pictures.images.dtype == np.uint8
    raw = scipy.io.loadmat(FILES["published"])["stimuli_92objs"]
    assert np.array_equal(pictures.images[7], raw[0, 7]["image"].transpose(2, 0, 1))
    assert (
        pictures.names is None
        and len(pictures.classes) == 6
        and pictures.classes[pictures.labels[0]] == "human bodypart"
    )


def test_read_rdms_a_file_without_images_is_refused():
    with pytest.raises(UserError, match="holds no images"):
        read_mat_stimuli(FILES["hIT"])


@pytest.mark.parametrize("format", WRITERS.names())
@pytest.mark.parametrize("name", FILES)
def test_read_rdms_every_file_survives_export_and_import_bit_for_bit(real, name, format, tmp_path):
    suffix = {"rsatoolbox": ".h5", "mat": ".mat", "npz": ".npz"}[format]
    write_rdms(tmp_path / f"out{suffix}", real[name], format)
    back = {entry.region: entry for entry in read_rdms([tmp_path / f"out{suffix}"])}
    assert list(back) == [entry.region for entry in real[name]]
    for entry in real[name]:
        assert np.array_equal(back[entry.region].values, entry.values)
        assert (back[entry.region].subjects, back[entry.region].sessions) == (
            entry.subjects,
            entry.sessions,
        )


def _cut(path: Path, at: int, to: Path) -> Path:
    to.write_bytes(path.read_bytes()[:at])
    return to


@pytest.mark.parametrize("name", ["hIT", "models", "cichy"])
def test_read_rdms_a_file_that_was_cut_short_is_refused_or_reads_right(real, name, tmp_path):
    size = FILES[name].stat().st_size
    whole = {entry.region: entry.values for entry in real[name]}
    for share in (0, 1, 127, 128, 1000, size // 3, size // 2, size - 1000, size - 1):
        path = _cut(FILES[name], share, tmp_path / f"cut{FILES[name].suffix}")
        try:
            for entry in read_rdms([path]):
                assert np.array_equal(entry.values, whole[entry.region])
        except UserError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("name", ["hIT", "cichy"])
def test_read_rdms_flipped_bytes_never_end_in_a_traceback(name, tmp_path):
    rng = np.random.default_rng(20)
    data = FILES[name].read_bytes()
    path = tmp_path / f"flipped{FILES[name].suffix}"
    places = np.concatenate(
        [rng.integers(0, min(len(data), 4000), 12), rng.integers(0, len(data), 8)]
    )
    for place, next_ in pairwise(map(int, places)):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        damaged[next_] ^= 0x0F
        path.write_bytes(damaged)
        try:
            assert all(np.isfinite(entry.values).any() for entry in read_rdms([path]))
        except UserError as error:
            assert path.name in str(error)
