"""Two streams of images have running statistics each, and the network keeps the task's."""

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


def make_images(seed, shift=0.0):
    return torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(seed)) + shift


def buffers(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_each_stream_has_the_statistics_of_a_network_of_its_own():
    mixed, of_task, of_stimuli = network(), network(), network()
    stimulus_bn = StimulusBatchNorm(mixed)
    for step in range(3):
        of_task(make_images(step))
        of_stimuli(make_images(step, 5.0))
        mixed(make_images(step))
        with stimulus_bn.swapped_into(mixed):
            mixed(make_images(step, 5.0))
    assert same(buffers(mixed), buffers(of_task))
    assert same(
        {name.replace("/", "."): b for name, b in buffers(stimulus_bn).items()}, buffers(of_stimuli)
    )
    assert len(buffers(stimulus_bn)) == 3 * 3, "mean, variance and count of the three that keep any"
    with stimulus_bn.swapped_into(mixed):
        assert torch.equal(mixed.eval()(make_images(9)), of_stimuli.eval()(make_images(9)))


def test_swapped_into_restores_the_network_after_an_error():
    net = network()
    stimulus_bn, before = StimulusBatchNorm(net), buffers(net)
    with pytest.raises(ZeroDivisionError), stimulus_bn.swapped_into(net):
        net(make_images(0))
        raise ZeroDivisionError
    assert same(buffers(net), before) and not same(
        buffers(stimulus_bn), buffers(StimulusBatchNorm(net))
    )


def test_statistics_are_saved_and_loaded_as_buffers():
    net = network()
    stimulus_bn, other = StimulusBatchNorm(net), StimulusBatchNorm(net)
    with stimulus_bn.swapped_into(net):
        net(make_images(0))
    other.load_state_dict(copy.deepcopy(stimulus_bn.state_dict()))
    assert same(buffers(stimulus_bn), buffers(other)) and not list(stimulus_bn.parameters())


def test_swapped_into_works_for_one_layer_and_for_none():
    alone = nn.BatchNorm2d(2)
    stimulus_bn = StimulusBatchNorm(alone)
    with stimulus_bn.swapped_into(alone):
        alone(make_images(0))
    assert alone.num_batches_tracked == 0 and stimulus_bn.get_buffer("num_batches_tracked") == 1
    assert not buffers(StimulusBatchNorm(nn.Linear(2, 2)))
