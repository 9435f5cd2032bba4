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
    """Loss of a linear classifier on each layer of `layers=pool1+pool2`, over labelled images.

    `loss=squared-hinge` is Σ_j max(0, 1 − s_j z_j)² with s_j = 1 for the image's class and −1 for
    others, as in the released networks of Lee et al. `decay=linear` is α_0 (1 − e/E) with
    α_0 = 0.1. `decay=paper` is the recursion printed in McClure & Kriegeskorte 2016,
    α_{e+1} = 0.1 α_e (1 − e/E), with α_0 = 1; after three epochs the weight is below 0.001.
    `decay=none` keeps 1, as the released code does. `weight` replaces α_0.
    """

    def __init__(
        self,
        context: ObjectiveContext,
        *,
        layers: str,
        weight: float | None = None,
        loss: Literal["softmax", "squared-hinge"] = "softmax",
        decay: Literal["linear", "paper", "none"] = "linear",
    ):
        names = select_names(layers.split("+"), list(context.shapes))
        super().__init__(tuple(layer for layer in context.shapes if layer in names))
        self.weight = FIRST_WEIGHT[decay] if weight is None else weight
        check_weight("dsn", weight=self.weight)
        self.decay = decay
        self.loss = softmax_loss if loss == "softmax" else squared_hinge_loss
        self.heads = nn.ModuleList(
            nn.Linear(math.prod(context.shapes[layer]), context.classes) for layer in self.layers
        )

    @classmethod
    def select_matches(cls, matches: tuple[LayerMatch, ...]) -> tuple[LayerMatch, ...]:
        """Return no match: there is no teacher."""
        return ()

    def terms(self, step: StepContext) -> dict[str, Term]:
        weight = (
            decay_recursively(self.weight, step.progress)
            if self.decay == "paper"
            else decay_weight(self.weight, step.progress, self.decay)
        )
        terms = {}
        for layer, head in zip(self.layers, self.heads, strict=True):
            reps = step.reps[layer].flatten(1)
            with torch.autocast(reps.device.type, enabled=False):
                logits = head(reps.to(next(head.parameters()).dtype))
                terms[f"dsn/{layer}"] = Term(self.loss(logits, step.batch.labels), weight)
        return terms


def softmax_loss(logits: Logits, labels: Labels) -> Scalar:
    """Return the mean cross-entropy of the labelled images, 0 if there are none."""
    total = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp_min(1)


def squared_hinge_loss(logits: Logits, labels: Labels) -> Scalar:
    """Return the mean Σ_j max(0, 1 − s_j z_j)² of the labelled images, 0 if there are none."""
    labelled = labels != UNLABELLED
    signs = 2.0 * F.one_hot(labels.clamp_min(0), logits.shape[1]) - 1
    losses = (1 - signs * logits).clamp_min(0).square().sum(1)
    return torch.where(labelled, losses, 0).sum() / labelled.sum().clamp_min(1)


def decay_recursively(weight: float, progress: Progress) -> float:
    """Return α_e of α_{e+1} = 0.1 α_e (1 − e/E): over 100 epochs 1, .1, .0099, .00097, ..."""
    return weight * math.prod(0.1 * (1 - e / progress.epochs) for e in range(progress.epoch))
