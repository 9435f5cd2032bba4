"""Predictions come back, and a file of another format or version is refused."""

import h5py
import numpy as np
import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.core.hdf5 import write_attributes
from rdl_cli.runs.predictions import format_predictions, read_predictions

DIGESTS, LABELS = np.array([f"{i:064x}" for i in range(4)], "S64"), np.array([0, 1, 2, 0])
LOGITS = np.random.default_rng(0).normal(size=(4, 3))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "predictions.h5"
    path.write_bytes(
        format_predictions(DIGESTS, LABELS, {"final": LOGITS, "best": -LOGITS}, "file")
    )
    return path


def test_predictions_come_back(path):
    final, best = (read_predictions(path, epoch, "") for epoch in ("final", "best"))
    np.testing.assert_array_equal(final.logits, LOGITS.astype(np.float32))
    np.testing.assert_array_equal(best.predicted, (-LOGITS).argmax(1))
    assert final.digests.tolist() == DIGESTS.tolist() and final.labels.tolist() == [0, 1, 2, 0]
    assert final.errors == int((LOGITS.argmax(1) != LABELS).sum())


def test_predictions_have_the_documented_layout(path):
    with h5py.File(path) as file:
        names = []
        file.visititems(lambda name, _: names.append(name))
        assert sorted(names) == [
            "best",
            "best/logits",
            "best/predicted",
            "digest",
            "final",
            "final/logits",
            "final/predicted",
            "labels",
        ]
        assert file.attrs["format"] == b"rdl-predictions" and file.attrs["version"] == 2
        assert file.attrs["digest_kind"] == b"file"
        assert (file["labels"].dtype, file["final/logits"].dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("change", [{"version": 1}, {"version": 3}, {"format": "other"}])
def test_read_predictions_refuses_other_formats(path, change):
    with h5py.File(path, "r+") as file:
        write_attributes(file, change)
    with pytest.raises(UserError, match="this rdl reads rdl-predictions of version 2") as error:
        read_predictions(path, "final", "run it again")
    assert error.value.hint == "run it again"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(b"no HDF5"),
        lambda path: path.write_bytes(
            format_predictions(DIGESTS, LABELS[:3], {"final": LOGITS}, "file")
        ),
        lambda path: path.write_bytes(
            format_predictions(DIGESTS, LABELS, {"best": LOGITS}, "file")
        ),
    ],
)
def test_read_predictions_names_a_damaged_file(path, damage):
    damage(path)
    with pytest.raises(UserError, match=r"predictions\.h5 is damaged"):
        read_predictions(path, "final", "")
