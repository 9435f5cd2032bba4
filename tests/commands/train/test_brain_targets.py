"""Students of a brain: a known geometry is learned, held-out stimuli never enter training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rdl_cli.commands.show import summarise_run
from rdl_cli.commands.train.brain_targets import select_heldout_stimuli
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import sqeuclidean
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Store

BRAIN = Path(__file__).resolve().parents[3] / "../shared/data/brain"
needs_brain_data = pytest.mark.skipif(
    not BRAIN.exists(), reason="the measured data sets are not beside the project"
)


def brain_similarity(run):
    return {row["stimuli"]: row for row in Run(run).stimuli["brain_similarity"]}


def test_a_student_learns_a_known_geometry_and_a_control_does_not(tiny, brain_store, tmp_path):
    settings = {
        "targets": str(brain_store),
        "match": ["fc=V4"],
        "stimuli_heldout": "10",
        "epochs": 20,
        "lr": 0.05,
    }
    student = brain_similarity(tiny.train(tmp_path / "run", **settings))
    control = brain_similarity(tiny.train(tmp_path / "control", control="shuffle", **settings))
    task_only = brain_similarity(
        tiny.train(tmp_path / "task", objective=["rsa:weight=0"], **settings)
    )
    assert student["train"]["spearman"] > 0.9 and student["heldout"]["spearman"] > 0.8
    for other in (control, task_only):
        assert other["train"]["spearman"] < student["train"]["spearman"] - 0.2
        assert other["heldout"]["spearman"] < student["heldout"]["spearman"] - 0.1
    assert student["heldout"]["n_stimuli"] == 10 and student["train"]["n_stimuli"] == 30
    methods = {Run(tmp_path / name).method for name in ("run", "control")}
    assert len(methods) == 2, "compare keeps them apart"


def test_resume_continues_a_students_training_to_the_bit(
    tiny, brain_student, follow_brain, elsewhere, tmp_path
):
    out, kill = tmp_path / "run", """
    import os, signal
    replace, count = os.replace, 0
    def kill(*args, **kwargs):
        global count
        replace(*args, **kwargs)
        count += 1
        if count == 6:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = kill
    from pathlib import Path
    from rdl_cli.commands.settings import StudentSettings
    from rdl_cli.commands.train.train import train
    train(Path(out), StudentSettings(**settings))
    """  # fmt: skip
    assert elsewhere(kill, out=str(out), settings=follow_brain) < 0 and not Run(out).finished
    assert 0 < len(Run(out).metrics()) < 4
    tiny.train(out, resume=True, **follow_brain)
    assert tiny.same(out, brain_student)
    assert (out / "stimuli.json").read_text() == (brain_student / "stimuli.json").read_text()


def test_heldout_stimuli_never_enter_training(
    tiny, synthetic_brain, follow_brain, brain_student, tmp_path
):
    """Other images and distances of the held-out stimuli change nothing in the student."""
    names = Run(brain_student).stimuli["stimuli"]["heldout"]
    heldout = torch.tensor(sorted(int(name.split()[1]) for name in names))
    images, rdms = synthetic_brain.images.clone(), synthetic_brain.subject_rdms.copy()
    images[heldout] = 255 - images[heldout]
    i, j = condensed_pairs(synthetic_brain.n)
    is_heldout = (torch.isin(i, heldout) | torch.isin(j, heldout)).numpy()
    rdms[:, is_heldout] = rdms[:, is_heldout][:, ::-1]
    other = synthetic_brain.write(tmp_path / "other.h5", {"IT": rdms}, images=images)
    run = tiny.train(tmp_path / "run", **follow_brain | {"targets": str(other)})
    tensors, expected = (load_file(one / "model.safetensors") for one in (run, brain_student))
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    similarity, expected = brain_similarity(run), brain_similarity(brain_student)
    assert similarity["heldout"]["spearman"] != expected["heldout"]["spearman"]
    assert similarity["train"] == expected["train"]


def select(store, heldout, seed=0):
    return select_heldout_stimuli(Store.open(store), heldout, Seeds(seed)).tolist()


@pytest.mark.parametrize(("heldout", "count"), [("", 0), ("0.25", 10), ("10", 10)])
def test_select_heldout_stimuli_draws_an_amount_by_the_seed(heldout, count, brain_store):
    rows, again, other = (select(brain_store, heldout, seed) for seed in (0, 0, 1))
    assert rows == again == sorted(set(rows)) and len(rows) == len(other) == count
    assert not count or rows != other


def test_select_heldout_stimuli_holds_out_every_stimulus_in_one_fold(brain_store):
    folds = [select(brain_store, f"folds:3/{fold}") for fold in range(3)]
    assert sorted(row for rows in folds for row in rows) == list(range(40))
    assert sorted(map(len, folds)) == [13, 13, 14]
    assert folds[0] == select(brain_store, "folds:3/0", seed=7), "folds do not depend on the seed"
    for seed in range(6):
        assert select(brain_store, "folds:3", seed) == folds[seed % 3]


def test_a_file_names_the_heldout_stimuli(tiny, follow_brain, brain_store, tmp_path):
    names = ["stimulus 39", "stimulus 3", "stimulus 8", "stimulus 20"]
    file = tmp_path / "heldout.txt"
    file.write_text("\n".join(names) + "\n\n")
    settings = follow_brain | {"epochs": 1, "stimuli_heldout": str(file)}
    run = Run(tiny.train(tmp_path / "run", **settings))
    heldout = ["stimulus 3", "stimulus 8", "stimulus 20", "stimulus 39"]
    assert run.stimuli["stimuli"]["heldout"] == heldout
    assert list(summarise_run(run).heldout_stimuli) == heldout
    (parent,) = [p for p in run.provenance["parents"] if p["kind"] == "held-out stimuli"]
    assert parent["path"] == str(file)
    (run.path / "predictions.h5").unlink()
    file.write_text("\n".join([*names[1:], "stimulus 5"]))
    with pytest.raises(UserError, match=r"held-out stimuli .* has changed since"):
        tiny.train(run.path, resume=True, **settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("stimulus 1\nstimulus 99", "1 of 2 names in .* are no stimuli of .*: stimulus 99"),
        ("stimulus 1\nstimulus 1", "lists `stimulus 1` more than once"),
        ("\n".join(f"stimulus {k}" for k in range(40)), "none is left for training"),
    ],
)
def test_select_heldout_stimuli_refuses_a_file(text, message, brain_store, tmp_path):
    file = tmp_path / "heldout.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=message):
        select(brain_store, str(file))


def test_open_brain_target_logs_rdm_stimuli_split_and_control(tiny, follow_brain, tmp_path, capfd):
    changes = {"epochs": 1, "control": "category", "stimuli_batch_size": 6}
    tiny.train(tmp_path / "run", **follow_brain | changes)
    text = " ".join(capfd.readouterr().err.split())
    for part in (
        "target RDM: IT: mean of 5 RDMs (5 subjects)",
        "40 stimuli of its own, 20 × 20 pixels scaled to 8 × 8; 20 for training, 6 in each step,"
        " 20 held out",
        "objective rsa, the default",
        "control `category`",
        "held-out stimuli, pool2 ~ IT@mean: Spearman",
        "noise ceiling",
        "batch-norm statistics",
    ):
        assert part in text, part
    assert Run(tmp_path / "run").stimuli["control"] == "category"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"match": ["pool2=IT"]}, "one RDM is needed"),
        ({"match": ["pool2=IT@nobody"]}, "no part `nobody`"),
        ({"match": ["pool2=V5"]}, "no layer `V5`; did you mean `V4`"),
        ({"objective": ["sp"]}, "only an RDM is known"),
        ({"objective": ["kd"], "match": []}, "holds only RDMs, and no `logits`"),
        ({"control": "shufle"}, "did you mean `shuffle`"),
        ({"stimuli_heldout": "0.95"}, "2 stimuli are left"),
        ({"stimuli_heldout": "40"}, "none is left"),
        ({"stimuli_heldout": "-0.5"}, "--stimuli-heldout is -0.5"),
        ({"stimuli_heldout": "2.5"}, "--stimuli-heldout is 2.5"),
        ({"stimuli_heldout": "folds:4/4"}, "--stimuli-heldout is folds:4/4"),
        ({"stimuli_heldout": "fold:4"}, "there is no such file"),
        ({"stimuli_batch_size": 21}, "--stimuli-batch-size is 21"),
        ({"grad_fraction": ["rdl=0.1"]}, "no objective of this run `rdl`"),
        ({"stimuli_eval_every": 0}, "--stimuli-eval-every is 0"),
        (
            {"match": ["pool2=V4"], "objective": ["rsa:pairs=reliable"]},
            "the reliability of distances is not known",
        ),
    ],
)
def test_open_brain_target_refuses_before_any_file(changes, message, tiny, follow_brain, tmp_path):
    with pytest.raises(UserError, match=message):
        tiny.train(tmp_path / "run", **follow_brain | changes)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option", [{"control": "shuffle"}, {"stimuli_heldout": "0.5"}, {"stimuli_batch_size": 5}]
)
def test_stimulus_options_are_refused_for_a_store_of_the_training_images(
    option, tiny, follow, tmp_path
):
    with pytest.raises(UserError, match="is for a teacher with stimuli of its own"):
        tiny.train(tmp_path / "run", **follow | option)


def test_a_brain_of_the_training_images_has_no_stimuli_of_its_own(
    tiny, synthetic_brain, tmp_path, capfd
):
    from rdl_cli.datasets.base import load_dataset

    images = load_dataset("digits", tmp_path).train.images
    flat = images.flatten(1).double()
    rdm = sqeuclidean(flat, flat)[condensed_pairs(len(flat))]
    store = synthetic_brain.write(tmp_path / "brain.h5", {"IT": rdm.expand(2, -1)}, images=images)
    settings = {"targets": str(store), "objective": ["rsa"], "epochs": 1}
    run = tiny.train(tmp_path / "run", match=["fc=IT@mean"], **settings)
    assert Run(run).stimuli is None and "of its own" not in capfd.readouterr().err
    with pytest.raises(UserError, match="one RDM is needed"):
        tiny.train(tmp_path / "other", match=["fc=IT"], **settings)


@needs_brain_data
def test_a_student_of_fifteen_subjects_has_the_published_noise_ceiling(tiny, tmp_path):
    from rdl_cli.commands.import_rdms import import_rdms
    from rdl_cli.commands.settings import ImportSettings

    # the same 92 stimuli, with their categories
    images = BRAIN / "krieg92/Kriegeskorte_Neuron2008_supplementalData.mat"
    store = tmp_path / "cichy.h5"
    settings = ImportSettings(stimuli=str(images), regions=["IT=IT_RDMs"])
    import_rdms([BRAIN / "cichy92/target_fmri.mat"], store, settings)
    settings = {"targets": str(store), "match": ["fc=IT@mean"], "lr": 0.05}
    run = tiny.train(tmp_path / "run", epochs=5, **settings)
    (row,) = Run(run).stimuli["brain_similarity"]
    assert row["n_stimuli"] == 92
    ceiling = [row["noise_ceiling_lower"], row["noise_ceiling_upper"]]
    assert np.round(ceiling, 3).tolist() == [0.453, 0.542], "as published"
    assert row["spearman"] > 0.4 and row["spearman"] > row["mean_subject_spearman"]
    control = tiny.train(tmp_path / "control", control="category", epochs=1, **settings)
    assert json.loads((control / "stimuli.json").read_text())["control"] == "category"
