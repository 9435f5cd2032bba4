"""A brain's target: the stimuli of a step, held-out stimuli, controls and reliable pairs."""

import numpy as np
import pytest
import torch
from brains import (
    BRAIN_IMAGES,
    HELDOUT,
    NONE,
    SEEDS,
    TRAIN,
    N,
    make_batch,
    make_brain,
    make_brain_module,
    make_rng,
    preprocess,
    run_steps,
    subject_rdms,
)
from scipy.stats import pearsonr

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import condensed_pairs, to_square
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.noise_ceiling import reliability
from rdl_cli.training.objective import Progress


def student_rdm(module, rows):
    """Return the correlation RDM of the student's hidden layer over some stimuli, in float64."""
    reps = module._forward_stimuli(preprocess(BRAIN_IMAGES)[rows], ["hidden"])["hidden"].detach()
    rdm = DISTANCES.find("correlation")(reps, reps)[condensed_pairs(len(reps))]
    return rdm.double().numpy()


def test_comparison_batch_shows_all_or_some_training_stimuli():
    batch = make_brain().comparison_batch(make_batch(), make_rng())
    assert torch.equal(batch.ids, TRAIN) and (batch.labels == -1).all()
    assert torch.equal(batch.images, preprocess(BRAIN_IMAGES[TRAIN]))
    target = make_brain(batch_size=5)
    batches = [target.comparison_batch(make_batch(), make_rng(k)) for k in range(30)]
    assert all(len(set(batch.ids.tolist())) == 5 for batch in batches)
    assert {row for batch in batches for row in batch.ids.tolist()} == set(TRAIN.tolist())
    for batch in batches:
        assert torch.equal(batch.images, preprocess(BRAIN_IMAGES[batch.ids]))


def test_distances_are_the_regions_and_nan_for_heldout_stimuli():
    target, square = make_brain(), torch.from_numpy(subject_rdms().to_square()[0])
    distances = target.fix_distance("IT", None)
    batch = make_brain(batch_size=5).comparison_batch(make_batch(), make_rng())
    torch.testing.assert_close(distances(batch).double(), square[batch.ids][:, batch.ids])
    assert distances(target.show(torch.arange(N)))[HELDOUT].isnan().all()
    with pytest.raises(UserError, match="in `correlation`; the objective asks for `mse`"):
        target.fix_distance("IT", "mse")


def test_control_changes_the_target_but_not_the_measured_rdm():
    rows_of_control = []

    def negate(values, rows):
        rows_of_control.append(rows)
        return -values

    target = make_brain(control=negate)
    square = torch.from_numpy(subject_rdms().to_square()[0])[TRAIN][:, TRAIN]
    distances = target.fix_distance("IT", None)(target.calibration)
    torch.testing.assert_close(distances.double(), -square)
    assert np.array_equal(target.rdms["IT"].values, subject_rdms().values)
    assert torch.equal(rows_of_control[0], TRAIN)


@pytest.mark.parametrize("spec", ["cka", "hints", "kd", "sp"])
def test_brain_target_refuses_objectives_of_activations(spec):
    with pytest.raises(UserError, match="only an RDM is known") as caught:
        make_brain_module(make_brain(), spec)
    assert "rsa" in caught.value.hint


@pytest.mark.parametrize(
    "spec",
    ["rsa", "cosine", "whitened", "rdl", "rdl:fit=scale", "rdl:fit=affine", "rdl:pairs=5"],
)
@pytest.mark.parametrize("gaps", [0, 9])
def test_objectives_of_rdms_learn_with_and_without_gaps(spec, gaps):
    module = make_brain_module(make_brain(subject_rdms(gaps=gaps)), spec)
    rate = 0.02 if spec.startswith("rdl") else 0.05
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)
    losses = []
    for k in range(40):
        _, terms = module(make_batch(), Progress(0, 5, k, 40), SEEDS("test", k))
        (loss,) = (term.value for name, term in terms.items() if name.endswith("/hidden"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])


def test_rsa_leaves_missing_pairs_out():
    module = make_brain_module(make_brain(subject_rdms(gaps=9), NONE))
    _, terms = run_steps(module)
    rdm, brain_rdm = student_rdm(module, slice(None)), subject_rdms().values[0]
    expected = 1 - pearsonr(rdm[9:], brain_rdm[9:])[0]
    assert terms["rsa/hidden"].value.item() == pytest.approx(expected, abs=1e-5)


def test_rsa_weighs_pairs_by_the_agreement_of_subjects():
    rdms = subject_rdms(subjects=6)
    module = make_brain_module(make_brain(rdms), "rsa:pairs=reliable")
    _, terms = run_steps(module)
    train_rdms = rdms.subset(TRAIN.numpy())
    weights = reliability(train_rdms.tensor()).numpy()
    rdm, brain_rdm = student_rdm(module, TRAIN), train_rdms.values.mean(0)
    covariance = np.cov(rdm, brain_rdm, aweights=weights)
    expected = 1 - covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert terms["rsa/hidden"].value.item() == pytest.approx(expected, abs=1e-5)
    _, equal = run_steps(make_brain_module(make_brain(rdms)))
    assert abs(equal["rsa/hidden"].value - terms["rsa/hidden"].value) > 1e-3


def test_rsa_needs_subjects_for_reliable_pairs():
    with pytest.raises(UserError, match="the reliability of distances is not known") as caught:
        make_brain_module(make_brain(), "rsa:pairs=reliable")
    assert "IT@mean" in caught.value.hint


def test_heldout_distances_never_reach_the_squares():
    square = make_brain()._squares["IT"]
    expected = to_square(subject_rdms().subset(TRAIN.numpy()).tensor()[0]).float()
    assert torch.equal(square[TRAIN][:, TRAIN], expected)
    assert square[HELDOUT].isnan().all() and square[:, HELDOUT].isnan().all()


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"heldout": torch.arange(3)},
            "9 stimuli are left for training and 3 are held out; an RDM needs 4",
        ),
        ({"heldout": torch.arange(9)}, "3 stimuli are left"),
        ({"batch_size": 9}, "--stimuli-batch-size is 9; .* 8 are left"),
        ({"batch_size": 3}, "--stimuli-batch-size is 3; an RDM needs 4"),
    ],
)
def test_brain_target_refuses_too_few_stimuli(options, message):
    with pytest.raises(UserError, match=message):
        make_brain(**options)
