"""Pictures in a .mat file: in its order, with names and categories where it has them."""

import numpy as np
import pytest
import scipy.io

from rdl_cli.core.errors import UserError
from rdl_cli.io.stimuli import read_mat_stimuli

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)


def saved(path, images, **more):
    """A struct array as MATLAB has it; `more` are fields of text."""
    out = np.empty((1, len(images)), dtype=[("image", object), *((key, object) for key in more)])
    for k, image in enumerate(images):
        out[0, k] = (image, *(values[k] for values in more.values()))
    scipy.io.savemat(path / "x.mat", {"stimuli": out})
    return path / "x.mat"


def test_read_mat_stimuli_names_and_categories(tmp_path):
    imported = read_mat_stimuli(
        saved(tmp_path, PICTURES, category=["face", "body", "face"], name=["a", "b", "c"])
    )
    assert np.array_equal(imported.images, PICTURES.transpose(0, 3, 1, 2))
    assert (
        imported.names == ("a", "b", "c")
        and imported.classes == ("face", "body")
        and imported.labels.tolist() == [0, 1, 0]
    )


def test_read_mat_stimuli_grey_images_have_one_channel_and_need_no_names(tmp_path):
    imported = read_mat_stimuli(saved(tmp_path, PICTURES[..., 0]))
    assert (
        imported.images.shape == (3, 1, 4, 5) and imported.names is None and imported.labels is None
    )


def test_read_mat_stimuli_sizes_that_differ_and_images_refused(tmp_path):
    with pytest.raises(UserError, match=r"have 2 sizes, from \(3, 3, 5\) to \(3, 4, 5\)"):
        read_mat_stimuli(saved(tmp_path, [PICTURES[0], PICTURES[1][:3], PICTURES[2]]))
    with pytest.raises(UserError, match="image 1 of `stimuli` is 4 × 5 × 3 float64"):
        read_mat_stimuli(saved(tmp_path, PICTURES / 255))
    scipy.io.savemat(tmp_path / "y.mat", {"x": np.eye(3)})
    with pytest.raises(UserError, match="holds no images"):
        read_mat_stimuli(tmp_path / "y.mat")
