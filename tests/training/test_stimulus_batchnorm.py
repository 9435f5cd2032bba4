"""Two streams of pictures, two sets of running statistics, and only the task's in the network."""

import copy

import pytest
import torch
from torch import nn

from rdl_cli.training.stimulus_batchnorm import StimulusBatchNorm

torch.set_num_threads(1)


def network():
    torch.manual_seed(0)
    inner = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True)
    )
    return nn.Sequential(
        inner, nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, track_running_stats=False)
    )


def images(seed, shift=0.0):
    return torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(seed)) + shift


def buffers(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_each_stream_has_the_statistics_that_it_would_have_alone():
    mixed, of_task, of_stimuli = network(), network(), network()
    apart = StimulusBatchNorm(mixed)
    for step in range(3):
        of_task(images(step))
        of_stimuli(images(step, 5.0))
        mixed(images(step))
        with apart.of(mixed):
            mixed(images(step, 5.0))
    assert same(buffers(mixed), buffers(of_task))
    assert same(
        {name.replace("/", "."): b for name, b in buffers(apart).items()}, buffers(of_stimuli)
    )
    assert len(buffers(apart)) == 3 * 3, "mean, variance and count of the three that keep any"
    with apart.of(mixed):
        assert torch.equal(mixed.eval()(images(9)), of_stimuli.eval()(images(9)))


def test_what_is_the_networks_comes_back_after_an_error():
    net = network()
    apart, before = StimulusBatchNorm(net), buffers(net)
    with pytest.raises(ZeroDivisionError), apart.of(net):
        net(images(0))
        raise ZeroDivisionError
    assert same(buffers(net), before) and not same(buffers(apart), buffers(StimulusBatchNorm(net)))


def test_statistics_are_saved_and_restored():
    net = network()
    apart, other = StimulusBatchNorm(net), StimulusBatchNorm(net)
    with apart.of(net):
        net(images(0))
    other.load_state_dict(copy.deepcopy(apart.state_dict()))
    assert same(buffers(apart), buffers(other)) and not list(apart.parameters())


def test_a_network_that_is_one_normalisation_and_one_that_has_none():
    alone = nn.BatchNorm2d(2)
    apart = StimulusBatchNorm(alone)
    with apart.of(alone):
        alone(images(0))
    assert alone.num_batches_tracked == 0 and apart.get_buffer("num_batches_tracked") == 1
    assert not buffers(StimulusBatchNorm(nn.Linear(2, 2)))
