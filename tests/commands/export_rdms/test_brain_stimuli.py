"""Layers exported over a brain's stimuli."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from rdl_cli.commands.export_rdms import brain_stimuli
from rdl_cli.commands.export_rdms.brain_stimuli import export_over_stimuli
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.networks.hooks import read_layers
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Store


def test_export_over_stimuli_has_the_runs_brain_similarity(brain_student, brain_store, tmp_path):
    settings = ExportSettings(layers=["pool2"], distance="correlation", device="cpu")
    store = export_over_stimuli(brain_student, brain_store, tmp_path / "out.h5", settings)
    brain = Store.open(brain_store)
    assert np.array_equal(store.stimuli.digests, brain.stimuli.digests)
    assert np.array_equal(store.stimuli.labels, brain.stimuli.labels)
    names, square = store.stimuli.names.tolist(), squareform(brain.rdms("IT").values.mean(0))
    record = Run(brain_student).stimuli
    for row in record["brain_similarity"]:
        rows = [names.index(name) for name in record["stimuli"][row["stimuli"]]]
        reps = store.layer("pool2").activations()[0][rows].reshape(len(rows), -1)
        brain_rdm = squareform(square[np.ix_(rows, rows)])
        rank = spearmanr(pdist(reps, "correlation"), brain_rdm).statistic
        assert rank == pytest.approx(row["spearman"], abs=1e-3)
    assert {parent["kind"] for parent in store.provenance["parents"]} == {"run", "store"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dataset": "digits"}, "--dataset digits"),
        ({"split": "test"}, "--split test"),
        ({"download": True}, "--download"),
        ({"views": "hflip"}, "--views hflip"),
        ({"batch_size": 0}, "--batch-size is 0; at least 1"),
        ({"weights": "DEFAULT"}, "--weights DEFAULT"),
        ({"layers": []}, "no layers are named"),
        ({"layers": ["pool9"]}, "pool9"),
        ({"distance": "corelation"}, "did you mean `correlation`"),
    ],
)
def test_export_over_stimuli_refuses_options_without_effect(
    changes, message, brain_student, brain_store, tmp_path
):
    settings = ExportSettings(**{"layers": ["pool2"]} | changes)
    with pytest.raises(UserError, match=message):
        export_over_stimuli(brain_student, brain_store, tmp_path / "out.h5", settings)
    assert not any(tmp_path.iterdir())


def test_export_over_stimuli_runs_in_batches(brain_student, brain_store, tmp_path, monkeypatch):
    sizes = []

    def record(network, images, layers):
        sizes.append(len(images))
        return read_layers(network, images, layers)

    monkeypatch.setattr(brain_stimuli, "read_layers", record)
    in_batches, at_once = (
        export_over_stimuli(
            brain_student,
            brain_store,
            tmp_path / f"{batch_size}.h5",
            ExportSettings(layers=["pool2"], batch_size=batch_size),
        )
        for batch_size in (16, 500)
    )
    assert sizes == [16, 16, 8, 40]
    reps, expected = (one.layer("pool2").activations() for one in (in_batches, at_once))
    np.testing.assert_allclose(reps, expected, atol=1e-5)


def test_export_over_stimuli_needs_images_and_a_free_path(
    brain_student, brain_store, store, tmp_path
):
    settings = ExportSettings(layers=["pool2"])
    out, existing = tmp_path / "out.h5", tmp_path / "existing.h5"
    with pytest.raises(UserError, match="holds no images of its stimuli"):
        export_over_stimuli(brain_student, store, out, settings)
    existing.write_text("user's")
    with pytest.raises(UserError, match="exists already"):
        export_over_stimuli(brain_student, brain_store, existing, settings)
    assert export_over_stimuli(brain_student, brain_store, out, settings, dry_run=True) is None
    assert [path.name for path in tmp_path.iterdir()] == ["existing.h5"]
