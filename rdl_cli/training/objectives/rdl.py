"""Representational distance learning (McClure & Kriegeskorte 2016)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Reps
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.training.layer_objectives import LayerObjective, upcast_float32
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext, StepContext, Term, decay_weight
from rdl_cli.training.targets import root_mean_square

Estimator = Literal["eq4", "pairs", "all"]
Fit = Literal["none", "scale", "affine"]


@OBJECTIVES.register("rdl")
class Rdl(LayerObjective):
    """Squared differences between the student's and the teacher's distances, over a random subset of the pairs (Eqs. 1-5).

    `estimator`: `eq4` weighs each image's pairs as Eq. 4 does, `pairs` takes their plain mean, `all` takes every pair
    (Eq. 2; no sampling noise, and no slower). `pairs` or `pair_fraction` say how many pairs a step draws, the latter
    as a share of the n(n−1) ordered pairs, so 0.5 is all of them. `scale=unit-free` divides distances by the teacher's
    root mean square, so that a weight means the same for every layer and teacher; `none` is the paper's, where the
    weight must be tuned anew. `fit` brings the student's distances to the teacher's unit first, by a factor (`scale`)
    or with an offset as well (`affine`): for RDMs whose unit means nothing, as a brain's. `decay=linear` lets the weight
    fall to 0 over training (paper), `none` keeps it.
    """

    least = 2

    def __init__(
        self,
        setting: ObjectiveContext,
        *,
        weight: float = 1.0,
        estimator: Estimator | None = None,
        pairs: int | None = None,
        pair_fraction: float | None = None,
        distance: str | None = None,
        scale: Literal["unit-free", "none"] = "unit-free",
        fit: Fit = "none",
        decay: Literal["linear", "none"] = "linear",
    ):
        super().__init__("rdl", setting, weight)
        if pairs is not None and pair_fraction is not None:
            raise UserError(
                f"`rdl` was given pairs={pairs} and pair_fraction={pair_fraction}",
                hint="say one of them",
            )
        if pairs is not None and pairs < 1:
            raise UserError(f"`rdl` cannot draw pairs={pairs}")
        if pair_fraction is not None and not 0 < pair_fraction <= 0.5:
            raise UserError(
                f"`rdl` cannot draw pair_fraction={pair_fraction}",
                hint="it is a share of the n(n−1) ordered pairs, at most 0.5 = all",
            )
        drawing = pairs is not None or pair_fraction is not None
        if estimator == "all" and drawing:
            raise UserError(
                "`rdl:estimator=all` takes every pair; pairs and pair_fraction say otherwise",
                hint="leave one of them out",
            )
        if estimator in ("eq4", "pairs") and not drawing:
            raise UserError(
                f"`rdl:estimator={estimator}` draws pairs, but not how many",
                hint="say pairs=500 or pair_fraction=0.05",
            )
        self.decay, self.fit = decay, fit
        self.estimator: Estimator = estimator or ("eq4" if drawing else "all")
        self.pairs, self.pair_fraction = pairs, pair_fraction
        self.measures = self.measured(distance)
        self.scale = dict.fromkeys(self.matches, 1.0)
        if scale == "unit-free":
            for match, (_, stored) in self.measures.items():
                self.scale[match] = root_mean_square(
                    self.teacher, match.teacher, stored, setting.calibration, setting.seeds
                )

    def terms(self, step: StepContext) -> dict[str, Term]:
        n = len(step.comparison_batch.ids)
        counts = draw_pairs(n, self._number_of_pairs(n), step.rng)
        weight = decay_weight(self.weight, step.progress, self.decay)
        with torch.autocast(step.comparison_batch.images.device.type, enabled=False):
            theirs = [
                self.teacher.distances(match.teacher, step.comparison_batch, stored)
                for match, (_, stored) in self.measures.items()
            ]
            values = weighted_errors(
                [upcast_float32(step.reps[match.student]) for match in self.measures],
                torch.stack(theirs).detach(),
                counts.to(theirs[0].device),
                [measure for measure, _ in self.measures.values()],
                self.estimator,
                self.fit,
            )
        return {
            f"rdl/{m.student}": Term(value / self.scale[m] ** 2, weight)
            for m, value in zip(self.measures, values, strict=True)
        }

    def warning(self, images: int) -> str | None:
        there, asked = images * (images - 1) // 2, self._number_of_pairs(images)
        return (
            f"rdl: {images:,} images have {there:,} pairs; asked for {asked:,}, all are used"
            if asked > there
            else None
        )

    def _number_of_pairs(self, n: int) -> int:
        if self.pair_fraction is not None:
            return max(1, round(self.pair_fraction * n * (n - 1)))
        return n * (n - 1) // 2 if self.pairs is None else self.pairs


def draw_pairs(n: int, pairs: int, rng: torch.Generator) -> Tensor:
    """How often each pair of n images was drawn: symmetric (n, n) of 0 and 1, distinct unordered pairs without replacement.

    More pairs than there are means all of them.
    """
    i, j = torch.triu_indices(n, n, 1)
    if pairs < len(i):
        chosen = torch.randperm(len(i), generator=rng)[:pairs]
        i, j = i[chosen], j[chosen]
    counts = torch.zeros(n, n)
    counts[i, j] = 1.0
    return counts + counts.T


def pair_weights(counts: Tensor, estimator: Estimator) -> Tensor:
    """What each ordered pair counts, `... n n`: W with ΣW = 1, so that the error is Σ W (R−T)².

    For `eq4` every sampled image counts the same, 1/|X_P|, and shares that among its |P_i| pairs; otherwise every
    sampled pair counts the same. `counts` may hold repeated pairs; its diagonal (an image with itself) is left out.
    """
    counts = counts - torch.diag_embed(counts.diagonal(dim1=-2, dim2=-1))
    if estimator == "eq4":
        degree = counts.sum(-1, keepdim=True)
        return counts / (degree.clamp_min(1) * (degree > 0).sum(-2, keepdim=True).clamp_min(1))
    return counts / counts.sum((-2, -1), keepdim=True).clamp_min(1)


def weighted_errors(
    reps: Sequence[Reps],
    theirs: Tensor,
    counts: Tensor,
    distances: Sequence[str],
    estimator: Estimator,
    fit: Fit = "none",
) -> Tensor:
    """Σ W (R−T)² over the drawn pairs for each of l layers, with the gradient of Eq. 4 (`eq4`), or that of the mean over pairs.

    `theirs` is `l n n`; all layers at once, because n² numbers are few and each operation on them takes its time. Pairs
    whose target is NaN (not measured) are left out. Eq. 4 weighs the two ends of a pair differently and is no
    scalar's gradient, except with a stop-gradient: each image moves, its partners stand still. The value is
    therefore half of the surrogate whose gradient this is; for a symmetric W both are those of the plain sum.
    """
    reps = [flatten_units(each) for each in reps]
    missing = theirs.isnan()
    theirs = torch.where(missing, 0, theirs).to(reps[0].dtype)
    weights = pair_weights(counts.to(theirs.dtype) * ~missing, estimator)
    closed = {"mse", "sqeuclidean"}.issuperset(distances)
    fixed = [each.detach() for each in reps]
    mine = torch.stack(
        [
            DISTANCES.find(d)(f if closed else r, f)
            for d, r, f in zip(distances, reps, fixed, strict=True)
        ]
    )
    slope = torch.ones((), dtype=mine.dtype, device=mine.device)
    if fit != "none":
        slope, offset = fit_scale(mine.detach(), theirs, weights, fit)
        mine = slope * mine + offset
    if closed:
        per_unit = [
            1 / each.shape[1] if d == "mse" else 1.0
            for d, each in zip(distances, reps, strict=True)
        ]
        return _ClosedForm.apply(mine, theirs, weights, slope, per_unit, *reps)
    surrogate = 2 * (weights * (mine - theirs).square()).sum((-2, -1))
    return surrogate.detach() / 2 + (surrogate - surrogate.detach())


def flatten_units(reps: Reps) -> Reps:
    """Representations as `n d`, the units in the order in which they lie in memory: no distance asks for another."""
    lie = reps.ndim == 4 and reps.is_contiguous(memory_format=torch.channels_last)
    return (reps.permute(0, 2, 3, 1) if lie else reps).flatten(
        1
    )  # flattened as NCHW they would be copied, and their gradient too


def fit_scale(mine: Tensor, theirs: Tensor, weights: Tensor, fit: Fit) -> tuple[Tensor, Tensor]:
    """The slopes and offsets that bring the student's distances nearest to the teacher's: the least Σ W (slope R + offset − T)².

    Constants to the gradient, which is the same with them differentiated (they are at their optimum). Fitted on the
    student's side, so that no shrinking of the student lowers the error. The slope is never below 0; where it is 0 the
    gradient is too, so a student whose geometry is the opposite of the teacher's needs `rsa`.
    """

    def total(x: Tensor) -> Tensor:
        return x.sum((-2, -1), keepdim=True)

    whole = total(weights).clamp_min(torch.finfo(weights.dtype).tiny)
    a, b = (
        total(weights * x) / whole if fit == "affine" else torch.zeros_like(whole)
        for x in (mine, theirs)
    )
    spread = total(weights * (mine - a).square())
    slope = (
        total(weights * (mine - a) * (theirs - b)) / torch.where(spread > 0, spread, 1)
    ).clamp_min(0)
    return slope, b - slope * a


class _ClosedForm(torch.autograd.Function):
    """Σ W (R−T)² for squared Euclidean R, scaled by s; backward is 8s (diag(A·1) F − A F) with A = W∘(R−T), half the work of autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        mine: Tensor,
        theirs: Tensor,
        weights: Tensor,
        slope: Tensor,
        per_unit: list[float],
        *reps: Tensor,
    ) -> Tensor:
        residual = mine - theirs
        pulls = weights * residual
        ctx.save_for_backward(pulls, slope, *reps)
        ctx.per_unit = per_unit
        return (pulls * residual).sum((-2, -1))

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        pulls, slope, *reps = ctx.saved_tensors
        with torch.autocast(pulls.device.type, enabled=False):
            pulls = (8 * outer[:, None, None] * slope) * (torch.diag_embed(pulls.sum(-1)) - pulls)
            # centred: the same gradient, less cancellation
            gradients = [
                s * pull @ (each - each.mean(0))
                for s, pull, each in zip(ctx.per_unit, pulls, reps, strict=True)
            ]
        return None, None, None, None, None, *gradients
