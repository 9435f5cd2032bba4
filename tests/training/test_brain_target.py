"""A teacher with stimuli of its own: what a step shows of it, what it never shows, and how brain_similarity to it is measured."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.rsa.condensed import condensed_pairs, to_square
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.measures import spearman
from rdl_cli.rsa.noise_ceiling import noise_ceiling
from rdl_cli.rsa.reliability import reliability
from rdl_cli.training.brain_similarity import BrainSimilarityEvaluator
from rdl_cli.training.brain_target import BrainTarget, Region
from rdl_cli.training.loop import StudentModule
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext, Progress

torch.set_num_threads(1)
N, HELD = 12, torch.tensor([1, 4, 6, 11])
TAUGHT = torch.tensor([0, 2, 3, 5, 7, 8, 9, 10])
MATCH = LayerMatch("hidden", "IT")
SEEDS = Seeds(0)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n=N):
    return torch.randint(0, 256, (n, 1, 4, 4), generator=rng(1), dtype=torch.uint8)


def halves(images):
    return images.float() / 255


def region(subjects=0, gaps=0, distance="correlation"):
    values = torch.rand(max(1, subjects), N * (N - 1) // 2, generator=rng(2), dtype=torch.float64)
    values[:, :gaps] = torch.nan
    return Region(values.mean(0), distance, values if subjects else None)


def brain(held_out=HELD, of=None, **options):
    return BrainTarget(pictures(), halves, {"IT": of or region()}, held_out, **options)


def student():
    torch.manual_seed(0)
    layers = OrderedDict(
        conv=nn.Conv2d(1, 4, 3), norm=nn.BatchNorm2d(4), flat=nn.Flatten(), hidden=nn.Linear(16, 6)
    )
    return nn.Sequential(layers | OrderedDict(out=nn.Linear(6, 3)))


def batch(n=10):
    return Batch(
        torch.rand(n, 1, 4, 4, generator=rng(3)),
        torch.arange(n) % 3,
        torch.arange(n),
        torch.zeros(n).long(),
    )


def module(target, spec="rsa", net=None):
    shapes = {"hidden": (6,), "logits": (3,)}
    made = (
        []
        if target is None
        else [
            OBJECTIVES.make(
                spec, ObjectiveContext((MATCH,), target, shapes, 3, target.calibration, SEEDS)
            )
        ]
    )
    return StudentModule(net or student(), made).train()


def step(of, count=1):
    for k in range(count):
        logits, terms = of(batch(), Progress(0, 5, k, 10), SEEDS("test", k))
    return logits, terms


class TestSteps:
    def test_all_stimuli_or_some_and_never_one_that_is_held_out(self):
        every = brain().comparison_batch(batch(), rng())
        assert (
            torch.equal(every.ids, TAUGHT)
            and torch.equal(every.images, halves(pictures()[TAUGHT]))
            and (every.labels == -1).all()
        )
        some = brain(per_step=5)
        seen = [some.comparison_batch(batch(), rng(k)) for k in range(30)]
        assert all(len(set(s.ids.tolist())) == 5 for s in seen) and {
            i for s in seen for i in s.ids.tolist()
        } == set(TAUGHT.tolist())
        assert all(torch.equal(s.images, halves(pictures()[s.ids])) for s in seen)

    def test_distances_are_the_regions_and_unknown_for_what_is_held_out(self):
        target, whole = brain(), to_square(region().rdm)
        comparison_batch = brain(per_step=5).comparison_batch(batch(), rng())
        torch.testing.assert_close(
            target.distances("IT", comparison_batch, "correlation").double(),
            whole[comparison_batch.ids][:, comparison_batch.ids],
        )
        assert (
            target.distances("IT", target.show(torch.arange(N)), "correlation")[HELD].isnan().all()
        )
        with pytest.raises(UserError, match="in `correlation`; the objective asks for `mse`"):
            target.distances("IT", comparison_batch, "mse")

    def test_a_control_destroys_what_is_taught_and_not_what_is_measured(self):
        seen = []

        def flipped(values, rows):
            seen.append(rows)
            return -values

        target = brain(control=flipped)
        whole = to_square(region().rdm)[TAUGHT][:, TAUGHT]
        torch.testing.assert_close(
            target.distances("IT", target.calibration, "correlation").double(), -whole
        )
        assert torch.equal(target.regions["IT"].rdm, region().rdm) and torch.equal(seen[0], TAUGHT)

    def test_only_rdms_are_known(self):
        for spec in ("cka", "hints", "kd", "sp"):
            with pytest.raises(UserError, match="only an RDM is known") as met:
                module(brain(), spec)
            assert "rsa" in met.value.hint

    @pytest.mark.parametrize(
        "spec",
        ["rsa", "cosine", "whitened", "rdl", "rdl:fit=scale", "rdl:fit=affine", "rdl:pairs=5"],
    )
    @pytest.mark.parametrize("gaps", [0, 9])
    def test_every_objective_of_rdms_learns_pairs_missing_or_not(self, spec, gaps):
        of = module(brain(of=region(gaps=gaps)), spec)
        optimizer = torch.optim.SGD(of.parameters(), lr=0.02 if spec.startswith("rdl") else 0.05)
        values = []
        for k in range(40):
            _, terms = of(batch(), Progress(0, 5, k, 40), SEEDS("test", k))
            (value,) = (term.value for name, term in terms.items() if name.endswith("/hidden"))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert np.isfinite(values).all() and np.mean(values[-5:]) < 0.95 * np.mean(values[:5])

    def test_missing_pairs_have_no_say(self):
        gappy, filled = region(gaps=9), region()
        of = module(brain(torch.tensor([], dtype=torch.long), gappy))
        _, terms = step(of)
        seen = of._forward_stimuli(halves(pictures()), ["hidden"])["hidden"].detach()
        mine = DISTANCES.find("correlation")(seen, seen)[condensed_pairs(N)]
        assert terms["rsa/hidden"].value.item() == pytest.approx(
            1 - pearsonr(mine[9:], filled.rdm[9:])[0], abs=1e-5
        )


class TestStatistics:
    def test_the_task_does_not_feel_the_stimuli(self):
        alone, taught = module(None), module(brain())
        (one, terms), (two, more) = step(alone, 3), step(taught, 3)
        assert torch.equal(one, two) and torch.equal(terms["task"].value, more["task"].value)
        mine, theirs = alone.student.state_dict(), taught.student.state_dict()
        assert mine.keys() == theirs.keys() and all(
            torch.equal(mine[name], theirs[name]) for name in mine
        )

    def test_the_stimuli_have_statistics_of_their_own_which_are_saved_with_the_learner(self):
        of = module(brain())
        step(of, 3)
        names = {name for name in of.state_dict() if name.startswith("apart.")}
        assert names == {
            f"apart.norm/{each}" for each in ("running_mean", "running_var", "num_batches_tracked")
        }
        assert of.apart.get_buffer("norm/num_batches_tracked") == 3
        again = module(brain())
        again.load_state_dict(of.state_dict())
        exported, own = (
            again.read_layers(halves(pictures()), ["hidden"], apart)["hidden"]
            for apart in (False, True)
        )
        assert torch.equal(
            own, of.read_layers(halves(pictures()), ["hidden"], True)["hidden"]
        ) and not torch.allclose(exported, own)
        assert torch.equal(exported, of.student[:4].eval()(halves(pictures()))), (
            "the headline is the exported model's"
        )
        assert not any(name.startswith("apart") for name in module(None).state_dict())

    def test_looking_changes_nothing(self):
        of = module(brain())
        before = {name: value.clone() for name, value in of.state_dict().items()}
        for apart in (False, True):
            of.read_layers(halves(pictures()), ["hidden"], apart)
        assert of.training and all(
            torch.equal(before[name], value) for name, value in of.state_dict().items()
        )


class TestReliablePairs:
    def test_counts_pairs_by_the_agreement_of_those_who_are_taught(self):
        many = region(subjects=6)
        of = module(brain(of=many), "rsa:pairs=reliable")
        _, terms = step(of)
        seen = of._forward_stimuli(halves(pictures())[TAUGHT], ["hidden"])["hidden"].detach()
        mine = DISTANCES.find("correlation")(seen, seen)[condensed_pairs(8)].double().numpy()
        theirs, weights = (
            many.among(TAUGHT).rdm.numpy(),
            reliability(many.among(TAUGHT).subjects).numpy(),
        )
        covariance = np.cov(mine, theirs, aweights=weights)
        expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        assert terms["rsa/hidden"].value.item() == pytest.approx(1 - expected, abs=1e-5)
        _, equal = step(module(brain(of=many)))
        assert abs(equal["rsa/hidden"].value - terms["rsa/hidden"].value) > 1e-3

    def test_needs_subjects(self):
        with pytest.raises(UserError, match="does not tell how reliable") as met:
            module(brain(), "rsa:pairs=reliable")
        assert "IT@mean" in met.value.hint


class TestJudge:
    def test_agrees_with_scipy_and_the_noise_ceiling(self):
        target = brain(of=region(subjects=5, gaps=3))
        of = module(target)
        step(of, 3)
        found = BrainSimilarityEvaluator(target, list(of.objectives))(of)
        assert set(found) == {("taught", MATCH), ("held-out", MATCH)}
        for (kind, _), each in found.items():
            rows = TAUGHT if kind == "taught" else HELD
            there = target.regions["IT"].among(rows)
            assert torch.equal(
                to_square(there.rdm).nan_to_num(-1),
                to_square(target.regions["IT"].rdm)[rows][:, rows].nan_to_num(-1),
            )
            measured = ~there.rdm.isnan()
            for apart in (False, True):
                seen = of.read_layers(halves(pictures()[rows]), ["hidden"], apart)["hidden"]
                mine = DISTANCES.find("correlation")(seen, seen)[condensed_pairs(len(rows))]
                rank = spearmanr(mine[measured], there.rdm[measured])[0]
                assert (each.apart if apart else each.spearman) == pytest.approx(rank, abs=1e-6)
                if not apart:
                    assert each.pearson == pytest.approx(
                        pearsonr(mine[measured], there.rdm[measured])[0], abs=1e-5
                    )
                    of_each = [
                        spearmanr(mine[measured], one[measured])[0] for one in there.subjects
                    ]
                    assert each.subjects == pytest.approx(np.mean(of_each), abs=1e-6)
            ceiling = noise_ceiling(spearman, there.subjects)
            assert (each.lower, each.upper) == pytest.approx(
                (float(ceiling.lower), float(ceiling.upper))
            )

    def test_one_subject_has_no_ceiling_and_nothing_held_out_is_not_reported(self):
        target = brain(torch.tensor([], dtype=torch.long))
        of = module(target)
        ((key, each),) = BrainSimilarityEvaluator(target, list(of.objectives))(of).items()
        assert key == ("taught", MATCH) and each.subjects is each.lower is each.upper is None

    def test_the_student_is_measured_as_its_objective_measures_it(self):
        target = brain(of=region(distance="crossnobis"))
        of = module(target, "rsa:distance=mse")
        assert BrainSimilarityEvaluator(target, list(of.objectives)).distances == {MATCH: "mse"}


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"held_out": torch.arange(3)},
            "9 stimuli are left to teach with and 3 held out; an RDM needs 4",
        ),
        ({"held_out": torch.arange(9)}, "3 stimuli are left"),
        ({"per_step": 9}, "--stimuli-batch-size is 9; .* there are 8"),
        ({"per_step": 3}, "--stimuli-batch-size is 3; an RDM needs 4"),
    ],
)
def test_too_few_stimuli_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        brain(**options)
