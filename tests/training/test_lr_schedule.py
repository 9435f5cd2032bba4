"""The factor on the learning rate at every time."""

import math
from itertools import pairwise

import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.training.lr_schedule import SCHEDULES


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_schedule_starts_at_1_and_never_rises_or_falls_below_0(name):
    factors = [SCHEDULES.make(name, 100)(step / 10) for step in range(1000)]
    assert factors[0] == 1 and all(0 <= b <= a <= 1 for a, b in pairwise(factors))


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_schedule_works_for_one_epoch(name):
    assert all(0 <= SCHEDULES.make(name, 1)(time) <= 1 for time in (0, 0.5, 0.99))


def test_cosine_is_half_a_wave_after_its_warmup():
    factor = SCHEDULES.make("cosine", 10)
    assert (
        factor(5) == pytest.approx(0.5)
        and factor(2.5) == pytest.approx((1 + math.sqrt(0.5)) / 2)
        and factor(10) == pytest.approx(0)
    )
    warm = SCHEDULES.make("cosine:warmup=2", 10)
    assert [warm(t) for t in (0, 0.5, 1, 2, 6, 10)] == pytest.approx([0, 0.25, 0.5, 1, 0.5, 0])


def test_halve_halves_at_multiples_of_25_counted_from_1():
    factor = SCHEDULES.make("halve", 100)
    by_epoch = [factor(epoch + 0.9) for epoch in range(100)]
    assert by_epoch[:24] == [1] * 24 and by_epoch[24:49] == [0.5] * 25 and by_epoch[49] == 0.25
    assert SCHEDULES.make("halve:every=2", 9)(3.5) == 0.25


@pytest.mark.parametrize(
    ("spec", "fact"),
    [
        ("cosine:warmup=10", "does not fit into 10 epochs"),
        ("halve:every=0", "every=0"),
        ("halve:every=1", "it must be at least 2"),
        ("cosin", "did you mean `cosine`"),
    ],
)
def test_schedule_refuses_impossible_options(spec, fact):
    with pytest.raises(UserError, match=fact):
        SCHEDULES.make(spec, 10)
