"""Layers that are not finite or do not vary are refused or announced when they are exported."""

import numpy as np
import pytest
import torch

from rdl_cli.commands.export_rdms import activations
from rdl_cli.commands.export_rdms.finite_check import FiniteCheck, check_finite
from rdl_cli.core.errors import UserError

REPS = np.random.default_rng(0).normal(size=(30, 4, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("reps", "fact"),
    [
        (REPS * np.nan, "none of its 240 activations is finite"),
        (REPS * 0, "the same for all 30 images"),
        (REPS * 0 + 772, "the same for all 30 images"),
    ],
)
def test_check_finite_refuses_a_layer_without_geometry(reps, fact):
    with pytest.raises(UserError, match=fact):
        check_finite("fc", reps, block=7)


def test_check_finite_counts_values_and_images(capsys):
    reps = REPS.copy()
    reps[3, 0, 0], reps[4, 1] = np.nan, np.inf
    check_finite("fc", reps, block=7)
    assert "3 of 240 activations of `fc` are NaN or infinite, in 2 of 30 images" in (
        capsys.readouterr().err
    )


def test_check_finite_announces_an_overflow(capsys):
    check_finite("fc", REPS * 1e25)
    assert "overflow float32" in capsys.readouterr().err


def test_check_finite_accepts_one_image_and_ordinary_layers(capsys):
    check_finite("fc", REPS)
    check_finite("fc", REPS[:1])
    FiniteCheck("fc").finish()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["activations", "rdm", "kernel"])
@pytest.mark.parametrize("factor", [float("nan"), 0.0])
def test_export_refuses_a_layer_without_geometry(
    form, factor, tiny, teacher, tmp_path, monkeypatch
):
    read = activations.read_layers

    def spoil(*args):
        return {layer: reps * factor for layer, reps in read(*args).items()}

    monkeypatch.setattr(activations, "read_layers", spoil)
    with torch.no_grad(), pytest.raises(UserError, match="`fc` has no geometry"):
        tiny.export(teacher, tmp_path / "s.h5", layers=["fc"], as_=form)
    assert not [*tmp_path.iterdir()], "a refused export leaves no file"
