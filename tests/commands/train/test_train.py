"""Runs: equal to the bit for equal settings, with all their metrics, and never with NaN."""

import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rdl_cli.commands.settings import StudentSettings
from rdl_cli.commands.show import show
from rdl_cli.commands.train.train import train
from rdl_cli.core.errors import UserError
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.runs.run import FILES, Run
from rdl_cli.training.lr_schedule import SCHEDULES


@pytest.fixture(scope="module")
def settings(tiny, follow):
    """Return the settings of the session's student."""
    return {**tiny.TINY, **follow, "objective": ["rdl:pairs=500"]}


def test_train_is_equal_to_the_bit_for_a_seed_and_different_for_another(
    tiny, student, settings, tmp_path
):
    again = tiny.train(tmp_path / "again", **settings)
    assert {path.name for path in again.iterdir()} == set(FILES) - {"stimuli.json"}
    assert tiny.same(again, student)
    assert (again / "checkpoint.pt").read_bytes() == (student / "checkpoint.pt").read_bytes()
    other = tiny.train(tmp_path / "other", **settings | {"seed": 1})
    weights, other_weights = (load_file(run / "model.safetensors") for run in (student, other))
    assert all(not torch.equal(weights[name], other_weights[name]) for name in weights)


def test_train_ignores_the_global_generator(tiny, student, settings, tmp_path):
    torch.manual_seed(123)
    torch.rand(7)
    assert tiny.same(tiny.train(tmp_path / "run", **settings), student)


def test_train_reduces_errors(tiny, teacher):
    rows = tiny.metrics(teacher)
    assert [row["epoch"] for row in rows] == list(range(15))
    assert rows[-1]["validation_error"] < 0.15 and rows[-1]["train/task"] < rows[0]["train/task"]
    predictions = {epoch: Run(teacher).predictions(epoch) for epoch in ("final", "best")}
    for of_epoch in predictions.values():
        assert of_epoch.predicted.tolist() == of_epoch.logits.argmax(1).tolist()
        assert of_epoch.errors / 500 < 0.15
    digests = set(predictions["final"].digests.tolist())
    assert len(digests) > 490, "each test image has a digest"


def test_train_saves_the_first_epoch_of_the_lowest_validation_error(tiny, student):
    rows = tiny.metrics(student)
    best = min(range(len(rows)), key=lambda epoch: rows[epoch]["validation_error"])
    checkpoint = torch.load(student / "checkpoint.pt", weights_only=True)
    assert checkpoint["best"]["epoch"] == best and checkpoint["rows"] == rows
    if best == len(rows) - 1:
        run = Run(student)
        assert np.array_equal(run.predictions("best").logits, run.predictions("final").logits)


def test_metrics_have_every_term_unweighted_with_weight_and_fraction(tiny, student):
    terms = ["task", *(f"rdl/{layer}" for layer in tiny.LAYERS.split(","))]
    columns = {f"{kind}/{t}" for kind in ("train", "weight", "grad_fraction") for t in terms}
    for epoch, row in enumerate(tiny.metrics(student)):
        assert columns < row.keys()
        assert sum(row[f"grad_fraction/{term}"] for term in terms) == pytest.approx(1)
        assert row["weight/task"] == 1
        assert row["weight/rdl/fc"] == pytest.approx(1 - epoch / 2), "α_e = α_0 (1 − e/E)"


def test_timings_have_a_row_for_each_epoch_and_metrics_no_time(student):
    rows = Run(student).timings()
    assert [float(row["epoch"]) for row in rows] == [0, 1]
    assert all(float(row["seconds"]) > 0 for row in rows)
    for row in rows:
        images = float(row["images_per_second"]) * float(row["seconds"])
        assert images == pytest.approx(1000)
    assert not {"seconds", "images_per_second"} & Run(student).metrics()[0].keys()


def test_train_takes_exactly_max_steps(tiny, tmp_path, capsys):
    run = tiny.train(tmp_path / "run", max_steps=11, batch_size=500, precision="64-true")
    assert torch.load(run / "checkpoint.pt", weights_only=True)["optimizer"]["state"]
    text = capsys.readouterr().err
    assert "11 steps in 6 epochs" in text and len(tiny.metrics(run)) == 6
    assert "weights are saved as float32" in text
    tensors = load_file(run / "model.safetensors").values()
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


def test_train_warns_once_of_more_pairs_than_there_are(tiny, follow, tmp_path, capsys):
    warning = "rdl: 100 images have 4,950 pairs; asked for 4,951, all are used"
    for pairs, times in ((4950, 0), (4951, 1)):
        objective = [f"rdl:pairs={pairs}"]
        tiny.train(tmp_path / str(pairs), objective=objective, **follow | {"epochs": 1})
        assert capsys.readouterr().err.count(warning) == times


def test_config_toml_reruns_the_run(student, tmp_path):
    config = tomllib.loads((student / "config.toml").read_text())
    train(tmp_path / "run", StudentSettings(**config))
    weights = [run / "model.safetensors" for run in (tmp_path / "run", student)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_dry_run_writes_nothing(tiny, settings, tmp_path, capsys):
    train(tmp_path / "run", tiny.settings(**settings), dry_run=True)
    assert not any(tmp_path.iterdir())
    output = capsys.readouterr()
    assert "1,000 labelled images, 2 epochs of 10 steps" in output.err and output.out == ""


def test_train_without_epochs_evaluates_init(tiny, teacher, tmp_path):
    run = tiny.train(tmp_path / "run", epochs=0, init=str(teacher))
    weights = [folder / "model.safetensors" for folder in (run, teacher)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    expected = Run(teacher).predictions("final").logits
    for epoch in ("final", "best"):
        assert np.array_equal(Run(run).predictions(epoch).logits, expected)
    show(run, verify=True)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_train_works_in_other_precisions(precision, tiny, follow, store, teacher, tmp_path):
    for name, targets in (("stored", store), ("live", teacher)):
        changes = {"targets": str(targets), "precision": precision}
        run = tiny.train(tmp_path / name, **follow | changes)
        first, last = tiny.metrics(run)
        for term in ("train/task", "train/rdl/pool1"):
            assert last[term] < first[term]
        assert first["grad_fraction/rdl/fc"] > 0
        tensors = load_file(run / "model.safetensors").values()
        assert all(tensor.dtype == torch.float32 for tensor in tensors)


class TestDiverged:
    def test_names_epoch_term_and_option_and_leaves_no_files(self, tiny, follow, tmp_path):
        with pytest.raises(UserError, match=r"not finite: `.*` in epoch 1, step 2") as caught:
            tiny.train(tmp_path / "run", objective=["rdl:weight=1e30"], **follow)
        assert "--objective" in caught.value.hint and "--lr" in caught.value.hint
        with pytest.raises(UserError, match="not finite: `task` in epoch 1, step") as caught:
            tiny.train(tmp_path / "run", lr=1e30)
        assert "--lr" in caught.value.hint and "--objective" not in caught.value.hint
        assert not any(tmp_path.iterdir())

    def test_refuses_weights_that_are_nan_and_removes_new_folders(self, tiny, tmp_path):
        state = build_network(tiny.TINY["network"], InputShape(1, 8, 8), 10).state_dict()
        state = {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}
        torch.save(state, tmp_path / "nan.pt")
        with pytest.raises(UserError, match="outputs are not finite"):
            tiny.train(
                tmp_path / "new" / "runs", init=str(tmp_path / "nan.pt"), epochs=0, seeds="0,1"
            )
        assert [path.name for path in tmp_path.iterdir()] == ["nan.pt"]

    def test_keeps_the_epochs_before_it(self, tiny, tmp_path, monkeypatch):
        def explode(epochs):
            return lambda time: 1e30 if time >= 1 else 1.0

        SCHEDULES.names()
        monkeypatch.setitem(SCHEDULES._members, "explosive", explode)
        with pytest.raises(UserError, match="in epoch 2, step 2"):
            tiny.train(tmp_path / "run", schedule="explosive")
        assert len(tiny.metrics(tmp_path / "run")) == 1 and not Run(tmp_path / "run").finished
