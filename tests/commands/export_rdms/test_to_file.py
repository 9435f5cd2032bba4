"""RDMs of a store go out to other programs: unchanged, or computed from activations or kernels."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from rdl_cli.commands.export_rdms import to_file
from rdl_cli.commands.export_rdms.to_file import export_to_file
from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.settings import FORMATS, ExportSettings, ImportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.io.read import read_rdms
from rdl_cli.io.write import WRITERS
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.store.layout import ActivationSpec, KernelSpec
from rdl_cli.store.store import Stimuli
from rdl_cli.store.writer import create_store

N = 5
RNG = np.random.default_rng(9)
VECTORS = np.stack([pdist(RNG.normal(size=(N, 9)), "correlation") for _ in range(3)])
SQUARES = np.stack([squareform(v) for v in VECTORS])
NAMES = ("tree", "face", "house", "tool", "hand")
REPS = RNG.normal(size=(2, N, 3, 2, 2)).astype(np.float32)
"""Activations in two views."""


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES))
    return path


@pytest.fixture
def subjects(tmp_path):
    np.save(tmp_path / "IT.npy", SQUARES)
    return tmp_path / "IT.npy"


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz"])
def test_export_to_file_survives_the_import_of_its_file(suffix, subjects, names, tmp_path):
    import_rdms([subjects], tmp_path / "s.h5", ImportSettings(names=str(names)))
    export_to_file(tmp_path / "s.h5", tmp_path / f"out{suffix}", ExportSettings())
    (back,) = read_rdms([tmp_path / f"out{suffix}"])
    assert (
        np.array_equal(back.values, VECTORS)
        and back.subjects == ("1", "2", "3")
        and back.stimuli[0] == "tree"
    )
    with pytest.raises(UserError, match="exists already"):
        export_to_file(tmp_path / "s.h5", tmp_path / f"out{suffix}", ExportSettings())


def test_export_to_file_needs_a_format(subjects, tmp_path):
    import_rdms([subjects], tmp_path / "s.h5", ImportSettings())
    with pytest.raises(UserError, match="no suffix that names a format"):
        export_to_file(tmp_path / "s.h5", tmp_path / "out", ExportSettings())


def test_formats_name_every_writer():
    assert set(FORMATS.values()) == set(WRITERS)


def test_export_to_file_writes_nothing_in_a_dry_run(subjects, tmp_path, capfd):
    import_rdms([subjects], tmp_path / "s.h5", ImportSettings())
    export_to_file(tmp_path / "s.h5", tmp_path / "out.h5", ExportSettings(), dry_run=True)
    assert (
        not (tmp_path / "out.h5").exists()
        and "3 RDMs of 1 regions for rsatoolbox" in capfd.readouterr().err
    )
    with pytest.raises(UserError, match="did you mean `mat`"):
        export_to_file(
            tmp_path / "s.h5", tmp_path / "out.h5", ExportSettings(), "matlab", dry_run=True
        )


@pytest.mark.parametrize(
    "asked,got",
    [
        (["pool*"], {"pool1", "pool2"}),
        (["fc,pool1"], {"fc", "pool1"}),
        (["V1 [left]"], {"V1 [left]"}),
    ],
)
def test_export_to_file_takes_globs_of_layers(asked, got, tmp_path):
    np.savez(tmp_path / "rdms.npz", **dict.fromkeys(("pool1", "pool2", "fc", "V1 [left]"), SQUARES))
    import_rdms([tmp_path / "rdms.npz"], tmp_path / "s.h5", ImportSettings())
    export_to_file(tmp_path / "s.h5", tmp_path / "out.npz", ExportSettings(layers=asked))
    assert {entry.region for entry in read_rdms([tmp_path / "out.npz"])} == got
    with pytest.raises(UserError, match="did you mean `fc`"):
        export_to_file(tmp_path / "s.h5", tmp_path / "out.mat", ExportSettings(layers=["fd"]))


@pytest.mark.parametrize(
    "given,flag",
    [
        ({"dataset": "digits"}, "--dataset digits"),
        ({"views": "hflip"}, "--views hflip"),
        ({"dtype": "float16"}, "--dtype float16"),
        ({"batch_size": 5}, "--batch-size 5"),
        ({"download": True}, "--download"),
    ],
)
def test_export_to_file_refuses_settings_of_a_run(given, flag, subjects, tmp_path):
    import_rdms([subjects], tmp_path / "s.h5", ImportSettings())
    with pytest.raises(UserError, match=f"^{flag} is for a run"):
        export_to_file(tmp_path / "s.h5", tmp_path / "out.h5", ExportSettings(**given))
    assert not (tmp_path / "out.h5").exists()


@pytest.fixture
def activations(tmp_path):
    """A store of activations that records `correlation`, and of a kernel."""
    path = tmp_path / "s.h5"
    flat = REPS[0].reshape(N, -1)
    stimuli = Stimuli(np.array([f"{i:064x}" for i in range(N)], "S64"), np.array(NAMES))
    specs = [
        ActivationSpec("conv", REPS.shape[2:], "float32", ("identity", "hflip"), "correlation"),
        KernelSpec("fc", "float32", "mse", flat.shape[1]),
    ]
    with create_store(path, stimuli, {}, specs, "f") as writer:
        for view in range(2):
            writer.write("conv", 0, REPS[view], view)
        writer.write_kernel("fc", 0, (flat @ flat.T)[np.triu_indices(N)])
    return path


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz"])
@pytest.mark.parametrize("distance", DISTANCES.names())
def test_export_to_file_computes_every_distance(distance, suffix, activations, tmp_path):
    out = tmp_path / f"out{suffix}"
    export_to_file(activations, out, ExportSettings(layers=["conv"], distance=distance))
    (rdms,) = read_rdms([out])
    reps = torch.from_numpy(REPS[0])
    square = DISTANCES.find(distance)(reps, reps).numpy()
    np.testing.assert_allclose(rdms.values[0], squareform(square, checks=False), rtol=1e-5)
    assert rdms.region == "conv" and rdms.stimuli == NAMES


def test_export_to_file_takes_the_distance_of_the_store(activations, tmp_path):
    export_to_file(activations, tmp_path / "out.npz", ExportSettings())
    conv, fc = sorted(read_rdms([tmp_path / "out.npz"]), key=lambda rdms: rdms.region)
    flat = REPS[0].reshape(N, -1).astype(float)
    np.testing.assert_allclose(conv.values[0], pdist(flat, "correlation"), rtol=1e-5)
    expected = pdist(flat, "sqeuclidean") / flat.shape[1]
    np.testing.assert_allclose(fc.values[0], expected, rtol=1e-4)


def test_export_to_file_refuses_another_distance_than_that_of_the_rdms(subjects, tmp_path):
    import_rdms([subjects], tmp_path / "s.h5", ImportSettings())
    with pytest.raises(UserError, match="are in `correlation`, not `mse`"):
        export_to_file(tmp_path / "s.h5", tmp_path / "out.h5", ExportSettings(distance="mse"))
    with pytest.raises(UserError, match="did you mean `mse`"):
        export_to_file(tmp_path / "s.h5", tmp_path / "out.h5", ExportSettings(distance="mse2"))
    assert not (tmp_path / "out.h5").exists()


def test_export_to_file_refuses_kernels(activations, tmp_path):
    with pytest.raises(UserError, match="--as kernel is for a run"):
        export_to_file(activations, tmp_path / "out.npz", ExportSettings(as_="kernel"))


def test_export_to_file_refuses_rdms_larger_than_memory(activations, tmp_path, monkeypatch):
    monkeypatch.setattr(to_file, "MAX_STIMULI", N - 1)
    with pytest.raises(UserError, match=r"activations of 5 stimuli.* at most 4"):
        export_to_file(activations, tmp_path / "out.npz", ExportSettings(layers=["conv"]))
