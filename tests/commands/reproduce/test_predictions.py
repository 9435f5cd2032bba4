"""predictions.npz: the finished runs' classes, from which SciPy alone gives the tables again."""

from pathlib import Path

import numpy as np
import pytest

from rdl_cli.commands.reproduce.predictions import write_predictions
from rdl_cli.commands.reproduce.recipe import read_recipe
from rdl_cli.core.errors import UserError
from rdl_cli.runs.prediction_table import read_tables
from rdl_cli.runs.run import Run


def test_write_predictions_holds_the_classes_of_every_run(whole):
    (table,) = read_tables(whole / "out/results/predictions.npz")
    runs = {
        ("teacher", 0): "teacher",
        ("baseline", 0): "baseline",
        ("rdl", 3): "rdl/seed3",
        ("rdl", 4): "rdl/seed4",
    }
    assert list(zip(table.methods, table.seeds, strict=True)) == list(runs)
    for row, folder in enumerate(runs.values()):
        for epoch in ("final", "best"):
            predictions = Run(whole / "out" / folder).predictions(epoch)
            assert np.array_equal(table.predicted[epoch][row], predictions.predicted)
            assert table.errors(epoch)[row] == predictions.errors
        assert np.array_equal(table.labels, predictions.labels)
        assert table.digests.tolist() == predictions.digests.tolist()


def test_write_predictions_needs_only_numpy_to_read_and_repeats_its_bytes(whole, recipes):
    path = whole / "out/results/predictions.npz"
    with np.load(path, allow_pickle=False) as file:
        errors = (file["0/final"] != file["0/labels"]).sum(axis=1)
        assert file["0/final"].dtype == np.uint8 and file["0/digests"].shape[1] == 32
    assert errors.tolist() == read_tables(path)[0].errors().tolist()
    before = path.read_bytes()
    write_predictions(read_recipe(str(whole / "small.toml"), whole / "out"), whole / "out")
    assert path.read_bytes() == before


def test_write_predictions_works_while_runs_are_missing(recipe, recipes, whole, tmp_path):
    read = read_recipe(recipe(recipes.small.replace("3..4", "3..5")), whole / "out")
    before = (whole / "out/results/predictions.npz").read_bytes()
    assert write_predictions(read, whole / "out").read_bytes() == before
    with pytest.raises(UserError, match=r"no run in .*empty is finished"):
        write_predictions(read_recipe("mine.toml", tmp_path / "empty"), tmp_path / "empty")


def test_read_tables_refuses_other_files(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"text\.npz is not a file of predictions"):
        read_tables(tmp_path / "text.npz")
    with pytest.raises(UserError, match="there is no"):
        read_tables(Path("missing.npz"))
