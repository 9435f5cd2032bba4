"""Brain similarity agrees with SciPy, over training and over held-out stimuli."""

import numpy as np
import pytest
from brains import (
    BRAIN_IMAGES,
    HELDOUT,
    MATCH,
    NONE,
    TRAIN,
    make_brain,
    make_brain_module,
    preprocess,
    run_steps,
    subject_rdms,
)
from scipy.stats import pearsonr, spearmanr

from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.measures import spearman
from rdl_cli.rsa.noise_ceiling import noise_ceiling
from rdl_cli.training.brain_similarity import BrainSimilarityEvaluator


@pytest.fixture(scope="module")
def evaluated():
    target = make_brain(subject_rdms(subjects=5, gaps=3))
    module = make_brain_module(target)
    run_steps(module, 3)
    return module, BrainSimilarityEvaluator(target, module.objectives)(module)


@pytest.mark.parametrize("split, rows", [("train", TRAIN), ("heldout", HELDOUT)])
def test_evaluator_agrees_with_scipy(split, rows, evaluated):
    module, similarities = evaluated
    assert set(similarities) == {("train", MATCH), ("heldout", MATCH)}
    similarity = similarities[split, MATCH]
    subjects = subject_rdms(subjects=5, gaps=3).subset(rows.numpy())
    brain_rdm = subjects.values.mean(0)
    measured = ~np.isnan(brain_rdm)
    student_rdms = []
    for stimulus_batchnorm in (False, True):
        images = preprocess(BRAIN_IMAGES[rows])
        reps = module.read_layers(images, ["hidden"], stimulus_batchnorm)["hidden"]
        rdm = DISTANCES.find("correlation")(reps, reps)[condensed_pairs(len(rows))]
        student_rdms.append(rdm.numpy()[measured])
    exported, stimulus_bn = student_rdms
    rank = spearmanr(exported, brain_rdm[measured])[0]
    assert similarity.spearman == pytest.approx(rank, abs=1e-6)
    rank = spearmanr(stimulus_bn, brain_rdm[measured])[0]
    assert similarity.spearman_stimulus_bn == pytest.approx(rank, abs=1e-6)
    correlation = pearsonr(exported, brain_rdm[measured])[0]
    assert similarity.pearson == pytest.approx(correlation, abs=1e-5)
    by_subject = [spearmanr(exported, one[measured])[0] for one in subjects.values]
    assert similarity.mean_subject_spearman == pytest.approx(np.mean(by_subject), abs=1e-6)
    ceiling = noise_ceiling(spearman, subjects.tensor())
    assert similarity.noise_ceiling_lower == pytest.approx(float(ceiling.lower))
    assert similarity.noise_ceiling_upper == pytest.approx(float(ceiling.upper))


def test_evaluator_gives_one_subject_no_ceiling_and_no_heldout_row():
    target = make_brain(heldout=NONE)
    module = make_brain_module(target)
    similarities = BrainSimilarityEvaluator(target, module.objectives)(module)
    assert set(similarities) == {("train", MATCH)}
    assert similarities["train", MATCH][3:] == (None, None, None)


def test_evaluator_measures_the_student_as_its_objective_does():
    target = make_brain(subject_rdms(distance="crossnobis"))
    module = make_brain_module(target, "rsa:distance=mse")
    assert BrainSimilarityEvaluator(target, module.objectives).distances == {MATCH: "mse"}


def test_evaluator_compares_with_the_measured_rdm_under_a_control():
    control = make_brain(control=lambda values, rows: values.flip(0))
    plain = make_brain()
    module = make_brain_module(plain, "cosine")
    similarity, of_control = (
        BrainSimilarityEvaluator(target, make_brain_module(target, "cosine").objectives)(module)
        for target in (plain, control)
    )
    assert similarity == of_control
