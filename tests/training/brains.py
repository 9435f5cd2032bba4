"""A brain of 12 stimuli and a student with batch norm, for tests of targets with stimuli."""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext, Progress
from rdl_cli.training.student import StudentModule

torch.set_num_threads(1)
N, HELDOUT = 12, torch.tensor([1, 4, 6, 11])
TRAIN = torch.tensor([0, 2, 3, 5, 7, 8, 9, 10])
NONE = torch.tensor([], dtype=torch.long)
MATCH = LayerMatch("hidden", "IT")
SEEDS = Seeds(0)


def make_rng(seed=0):
    return torch.Generator().manual_seed(seed)


BRAIN_IMAGES = torch.randint(0, 256, (N, 1, 4, 4), generator=make_rng(1), dtype=torch.uint8)


def preprocess(images):
    return images.float() / 255


def subject_rdms(subjects=1, gaps=0, distance="correlation"):
    """Return the RDMs of some subjects; the first `gaps` distances are not measured."""
    pairs = N * (N - 1) // 2
    values = torch.rand(subjects, pairs, generator=make_rng(2), dtype=torch.float64).numpy()
    values[:, :gaps] = np.nan
    return RDMs(values, distance, subjects=tuple(f"s{k}" for k in range(subjects)))


def make_brain(rdms=None, heldout=HELDOUT, **options):
    """Return a target of one subject, or of the mean of several."""
    rdms = rdms or subject_rdms()
    mean = RDMs(rdms.values.mean(0)[None], rdms.distance)
    subjects = {"IT": rdms} if len(rdms) > 1 else {}
    return BrainTarget(BRAIN_IMAGES, preprocess, {"IT": mean}, subjects, heldout, **options)


def make_batch(n=10):
    images = torch.rand(n, 1, 4, 4, generator=make_rng(3))
    return Batch(images, torch.arange(n) % 3, torch.arange(n), torch.zeros(n).long())


def make_brain_module(target, spec="rsa"):
    torch.manual_seed(0)
    layers = OrderedDict(
        conv=nn.Conv2d(1, 4, 3),
        norm=nn.BatchNorm2d(4),
        flat=nn.Flatten(),
        hidden=nn.Linear(16, 6),
        out=nn.Linear(6, 3),
    )
    objectives = []
    if target is not None:
        shapes = {"hidden": (6,), "logits": (3,)}
        context = ObjectiveContext((MATCH,), target, shapes, 3, target.calibration, SEEDS)
        objectives = [OBJECTIVES.make(spec, context)]
    return StudentModule(nn.Sequential(layers), objectives).train()


def run_steps(module, count=1):
    """Return logits and terms of the last of some steps, without an optimizer."""
    for k in range(count):
        logits, terms = module(make_batch(), Progress(0, 5, k, 10), SEEDS("test", k))
    return logits, terms
