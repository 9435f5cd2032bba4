"""The example package of plug-ins: each one is found by its name and obeys the laws of its kind."""

from pathlib import Path

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.datasets.augmentation import VIEWS
from rdl_cli.datasets.base import load_dataset
from rdl_cli.datasets.preprocessing import PREPROCESSING
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.rsa.control_rdms import CONTROLS
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.measures import MEASURES
from rdl_cli.training.lr_schedule import SCHEDULES
from rdl_cli.training.optimizer import OPTIMIZERS

PACKAGE = Path(__file__).resolve().parents[2] / "examples/plugin"


@pytest.fixture(autouse=True)
def package(monkeypatch):
    monkeypatch.syspath_prepend(PACKAGE)


def test_distance_is_symmetric_zero_for_itself_and_has_a_finite_gradient():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    distances = DISTANCES.find("rdl_example.distances:manhattan")(x, x)
    assert torch.equal(distances, distances.T) and not distances.diagonal().any()
    distances.sum().backward()
    assert x.grad.isfinite().all()


def test_measure_is_one_for_equal_rdms_alone():
    measure = MEASURES.find("rdl_example.measures:concordance")
    rdm = torch.tensor([1.0, 2.0, 4.0, float("nan")])
    assert measure(rdm, rdm).item() == pytest.approx(1)
    assert measure(rdm, 2 * rdm).item() < 0.9 and measure(rdm, rdm + 1).item() < 0.9


def test_dataset_is_equal_at_each_call_and_its_splits_share_no_image():
    splits, again = (load_dataset("rdl_example.datasets:stripes", Path()) for _ in range(2))
    assert torch.equal(splits.train.images, again.train.images)
    ids = torch.cat([split.ids for split in splits])
    assert len(ids) == len(ids.unique()) == 600


def test_schedule_rises_and_falls():
    factor = SCHEDULES.find("rdl_example.schedules:inverse_root:warmup=2")(10)
    assert [factor(time) for time in (0, 1, 2, 8)] == [0, 0.5, 1, 0.5]


def test_optimizer_lowers_a_loss():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = OPTIMIZERS.find("rdl_example.optimizers:rmsprop:alpha=0.9")([weight], 0.01, 0.0)
    weight.square().sum().backward()
    optimizer.step()
    assert weight.item() < 1


def test_preprocessing_is_made_again_from_its_spec():
    train = load_dataset("rdl_example.datasets:stripes", Path()).train
    first = PREPROCESSING.find("rdl_example.preprocessing:gamma:exponent=0.7")(train)
    again = PREPROCESSING.find(first.spec)(train)
    assert torch.equal(first(train.images), again(train.images))


def test_views_begin_with_the_image_itself_and_turn_back():
    views = VIEWS.make("rdl_example.views:quarter_turns")
    images = torch.arange(18, dtype=torch.uint8).reshape(2, 1, 3, 3)
    assert torch.equal(views.apply(images, torch.zeros(2).long()), images)
    turned = views.apply(images, torch.tensor([1, 3]))
    assert torch.equal(views.apply(turned, torch.tensor([3, 1])), images)
    assert len(views) == len(views.names) == 4


def test_control_keeps_the_mean_and_what_is_not_measured():
    control = CONTROLS.find("rdl_example.controls:constant")
    rdm = torch.tensor([1.0, 2.0, 3.0, float("nan")])
    values = control(rdm, None, torch.Generator().manual_seed(0))
    assert values.nanmean().item() == pytest.approx(2, rel=0.01)
    assert torch.equal(values.isnan(), rdm.isnan())


def test_network_has_named_layers():
    network = build_network("rdl_example.networks:mlp:hidden=8", InputShape(1, 8, 8), 4)
    assert {"hidden1", "hidden2"} <= dict(network.named_modules()).keys()


def test_objective_trains_a_student_and_refuses_a_wrong_option(tiny, follow, tmp_path):
    objective = "rdl_example.objectives:Sammon"
    run = tiny.train(tmp_path / "run", objective=[objective], **follow)
    assert tiny.metrics(run)[0]["train/sammon/fc"] > 0
    with pytest.raises(UserError, match="wieght"):
        tiny.train(tmp_path / "wrong", objective=[f"{objective}:wieght=2"], **follow)
    assert not (tmp_path / "wrong").exists()
