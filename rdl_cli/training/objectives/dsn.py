"""Deep supervision (Lee et al. 2014): classifiers on hidden layers, without a teacher."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from rdl_cli.core.patterns import select_names
from rdl_cli.core.tensor_types import UNLABELLED, Labels, Logits, Scalar
from rdl_cli.training.layer_objectives import check_weight
from rdl_cli.training.objective import (
    OBJECTIVES,
    LayerMatch,
    Objective,
    ObjectiveContext,
    Progress,
    StepContext,
    Term,
    decay_weight,
)

FIRST_WEIGHT = {"linear": 0.1, "paper": 1.0, "none": 1.0}


@OBJECTIVES.register("dsn")
class Dsn(Objective):
    """The error of a linear classifier on each of the layers named by `layers=pool1+pool2`, mean over labelled images.

    `loss=squared-hinge` is Σ_j max(0, 1 − s_j z_j)² with s_j = 1 for the image's class and −1 for others, as in the
    released networks of Lee et al. `decay=linear` is α_0 (1 − e/E) with α_0 = 0.1. `decay=paper` is the recursion that
    McClure & Kriegeskorte 2016 print, α_{e+1} = 0.1 α_e (1 − e/E), with α_0 = 1: after three epochs the classifiers are
    as good as gone. `decay=none` keeps 1, as the released code does. `weight` is another α_0.
    """

    def __init__(
        self,
        setting: ObjectiveContext,
        *,
        layers: str,
        weight: float | None = None,
        loss: Literal["softmax", "squared-hinge"] = "softmax",
        decay: Literal["linear", "paper", "none"] = "linear",
    ):
        super().__init__(tuple(select_names(layers.split("+"), list(setting.shapes))))
        self.weight = FIRST_WEIGHT[decay] if weight is None else weight
        check_weight("dsn", weight=self.weight)
        self.decay = decay
        self.loss = softmax if loss == "softmax" else squared_hinge
        self.heads = nn.ModuleList(
            nn.Linear(math.prod(setting.shapes[layer]), setting.classes) for layer in self.layers
        )

    @classmethod
    def select_matches(cls, matches: tuple[LayerMatch, ...]) -> tuple[LayerMatch, ...]:
        """None: there is no teacher."""
        return ()

    def terms(self, step: StepContext) -> dict[str, Term]:
        weight = (
            recursive(self.weight, step.progress)
            if self.decay == "paper"
            else decay_weight(self.weight, step.progress, self.decay)
        )
        found = {}
        for layer, head in zip(self.layers, self.heads, strict=True):
            reps = step.reps[layer].flatten(1)
            with torch.autocast(reps.device.type, enabled=False):
                found[f"dsn/{layer}"] = Term(
                    self.loss(head(reps.to(next(head.parameters()).dtype)), step.batch.labels),
                    weight,
                )
        return found


def softmax(logits: Logits, labels: Labels) -> Scalar:
    """Cross-entropy, mean over the images that have a label; 0 where none has."""
    total = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp_min(1)


def squared_hinge(logits: Logits, labels: Labels) -> Scalar:
    """Σ_j max(0, 1 − s_j z_j)², mean over the images that have a label; 0 where none has."""
    known = labels != UNLABELLED
    signs = 2.0 * F.one_hot(labels.clamp_min(0), logits.shape[1]) - 1
    each = (1 - signs * logits).clamp_min(0).square().sum(1)
    return torch.where(known, each, 0).sum() / known.sum().clamp_min(1)


def recursive(weight: float, progress: Progress) -> float:
    """α_e of α_{e+1} = 0.1 α_e (1 − e/E): in 100 epochs 1, .1, .0099, .00097, ..."""
    return weight * math.prod(0.1 * (1 - e / progress.epochs) for e in range(progress.epoch))
