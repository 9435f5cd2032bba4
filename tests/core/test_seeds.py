"""Named streams: each its own, none moved by another."""

import torch

from rdl_cli.core.seeds import Seeds


def numbers(generator):
    return torch.rand(5, generator=generator).tolist()


def test_adding_a_stream_moves_no_other():
    alone = numbers(Seeds(3)("shuffle", 1))
    seeds = Seeds(3)
    for purpose in ("views", "pairs", "shuffle"):
        numbers(seeds(purpose, 1))
    assert numbers(seeds("shuffle", 1)) == alone


def test_each_seed_purpose_and_time_has_its_own_stream():
    streams = [
        numbers(Seeds(s)(p, *when))
        for s in (0, 1)
        for p in ("shuffle", "views")
        for when in ((), (0,), (1,), (0, 1), (11,))
    ]
    assert len({tuple(s) for s in streams}) == 20
    assert Seeds(0).number("a", "b", 1) != Seeds(0).number("a", "b1") != Seeds(0).number("ab", 1), (
        "words do not run into each other"
    )


def test_numbers_are_the_same_on_every_machine():
    assert Seeds(0).number("shuffle", 0) == 4336877313789932224
    assert 0 <= Seeds(2**40).number("x") < 2**63


def test_streams_leave_the_global_generator_alone_and_fix_sets_it():
    before = torch.get_rng_state()
    numbers(Seeds(0)("shuffle"))
    assert torch.equal(torch.get_rng_state(), before)
    Seeds(0).seed_global("dropout", 2)
    first = torch.rand(3)
    Seeds(0).seed_global("dropout", 2)
    assert torch.equal(torch.rand(3), first)
