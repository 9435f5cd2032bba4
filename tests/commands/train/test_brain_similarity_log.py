"""The run of a brain's student records its brain similarity by epoch and at the end."""

import pytest
from safetensors.torch import load_file

from rdl_cli.commands.train.brain_similarity_log import describe_similarity
from rdl_cli.runs.run import Run
from rdl_cli.training.brain_similarity import BrainSimilarity


def test_stimuli_json_names_all_stimuli_by_split(brain_student, synthetic_brain):
    record = Run(brain_student).stimuli
    assert record["control"] is None
    splits = record["stimuli"]
    assert [len(splits[split]) for split in ("train", "heldout")] == [20, 20]
    names = [f"stimulus {k}" for k in range(synthetic_brain.n)]
    assert sorted(splits["train"] + splits["heldout"]) == sorted(names)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_stimuli_json_agrees_with_the_last_row_of_metrics(brain_student, split):
    rows = Run(brain_student).stimuli["brain_similarity"]
    (row,) = (row for row in rows if row["stimuli"] == split)
    assert (row["layer"], row["region"]) == ("pool2", "IT@mean")
    assert row["distance"] == "correlation" and row["n_stimuli"] == 20
    assert -1 <= row["noise_ceiling_lower"] <= row["noise_ceiling_upper"] <= 1
    assert row["mean_subject_spearman"] < row["noise_ceiling_upper"]
    assert row["spearman_stimulus_bn"] != row["spearman"], "the export has the task's statistics"
    column = f"{split}_stimuli/pool2"
    epochs = [one for one in Run(brain_student).metrics() if one[f"{column}/spearman"]]
    assert [int(float(one["epoch"])) for one in epochs] == [1, 3]
    for name in BrainSimilarity._fields:
        assert float(epochs[-1][f"{column}/{name}"]) == pytest.approx(row[name], abs=1e-12)


def test_metrics_of_a_brains_student_have_its_gradient_fraction(brain_student):
    first = Run(brain_student).metrics()[0]
    assert float(first["grad_fraction/rsa/pool2"]) == pytest.approx(0.25)
    assert float(first["weight/rsa/pool2"]) != 1


def test_brain_student_has_its_parents_and_exports_no_stimulus_batchnorm(brain_student):
    parents = {parent["kind"] for parent in Run(brain_student).provenance["parents"]}
    assert parents == {"dataset", "store"}
    assert not any("batchnorm" in name for name in load_file(brain_student / "model.safetensors"))


def test_describe_similarity_leaves_out_what_is_unknown_or_equal():
    assert describe_similarity(BrainSimilarity(0.5, 0.4, 0.5)) == "Spearman 0.500, Pearson 0.400"
    text = describe_similarity(BrainSimilarity(0.5, 0.4, 0.6, 0.3, 0.2, 0.7))
    assert text == (
        "Spearman 0.500, Pearson 0.400; with each subject 0.300, noise ceiling 0.200–0.700;"
        " with the stimuli's batch-norm statistics 0.600"
    )
