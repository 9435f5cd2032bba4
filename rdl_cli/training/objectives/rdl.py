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
    """Squared differences between the student's and the teacher's distances (Eqs. 1-5).

    Options:
        estimator: `eq4` weighs each image's pairs as in Eq. 4, `pairs` takes the plain mean of the
            drawn pairs, `all` takes every pair (Eq. 2; no sampling noise, and as fast).
        pairs, pair_fraction: the pairs drawn in a step, as a number or as a fraction of the
            n(n−1) ordered pairs; 0.5 is all of them.
        scale: `unit-free` divides distances by the teacher's root mean square, so that a weight
            means the same for every layer and teacher. With `none`, as in the paper, the weight
            must be tuned for each.
        fit: scales the student's distances to the teacher's unit first, by a factor (`scale`) or
            also an offset (`affine`), for RDMs in an arbitrary unit such as a brain's.
        decay: `linear` decays the weight to 0 over training (paper), `none` keeps it.
    """

    min_images = 2

    def __init__(
        self,
        context: ObjectiveContext,
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
        super().__init__("rdl", context, weight)
        self.estimator: Estimator = choose_estimator(estimator, pairs, pair_fraction)
        self.decay, self.fit = decay, fit
        self.pairs, self.pair_fraction = pairs, pair_fraction
        self.teacher_distances = self.fix_distances(distance)
        self.scale = dict.fromkeys(self.matches, 1.0)
        if scale == "unit-free":
            for match, distances in self.teacher_distances.items():
                self.scale[match] = root_mean_square(distances, context.calibration, context.seeds)

    def terms(self, step: StepContext) -> dict[str, Term]:
        n = len(step.comparison_batch.ids)
        counts = draw_pairs(n, self._count_pairs(n), step.rng)
        weight = decay_weight(self.weight, step.progress, self.decay)
        with torch.autocast(step.comparison_batch.images.device.type, enabled=False):
            teacher = [
                measure(step.comparison_batch) for measure in self.teacher_distances.values()
            ]
            errors = weighted_errors(
                [upcast_float32(step.reps[match.student]) for match in self.matches],
                torch.stack(teacher).detach(),
                counts.to(teacher[0].device),
                [self.student_distances[match] for match in self.matches],
                self.estimator,
                self.fit,
            )
        return {
            f"rdl/{match.student}": Term(error / self.scale[match] ** 2, weight)
            for match, error in zip(self.matches, errors, strict=True)
        }

    def warning(self, images: int) -> str | None:
        existing, asked = images * (images - 1) // 2, self._count_pairs(images)
        if asked <= existing:
            return None
        return f"rdl: {images:,} images have {existing:,} pairs; asked for {asked:,}, all are used"

    def _count_pairs(self, n: int) -> int:
        if self.pair_fraction is not None:
            return max(1, round(self.pair_fraction * n * (n - 1)))
        return n * (n - 1) // 2 if self.pairs is None else self.pairs


def choose_estimator(
    estimator: Estimator | None, pairs: int | None, pair_fraction: float | None
) -> Estimator:
    """Return the estimator: by default `eq4` if pairs are drawn, else `all`.

    UserError if the options contradict each other.
    """
    if pairs is not None and pair_fraction is not None:
        raise UserError(
            f"`rdl` has both pairs={pairs} and pair_fraction={pair_fraction}", hint="pass one"
        )
    if pairs is not None and pairs < 1:
        raise UserError(f"`rdl` cannot draw pairs={pairs}")
    if pair_fraction is not None and not 0 < pair_fraction <= 0.5:
        raise UserError(
            f"`rdl` cannot draw pair_fraction={pair_fraction}",
            hint="it is a fraction of the n(n−1) ordered pairs, at most 0.5 = all",
        )
    draws = pairs is not None or pair_fraction is not None
    if estimator == "all" and draws:
        raise UserError(
            "`rdl:estimator=all` takes every pair, so it excludes pairs and pair_fraction",
            hint="leave one of them out",
        )
    if estimator in ("eq4", "pairs") and not draws:
        raise UserError(
            f"`rdl:estimator={estimator}` draws pairs, but their number is not set",
            hint="pass pairs=500 or pair_fraction=0.05",
        )
    return estimator or ("eq4" if draws else "all")


def draw_pairs(n: int, pairs: int, rng: torch.Generator) -> Tensor:
    """Return how often each pair of n images was drawn: symmetric (n, n), 0 or 1.

    Unordered pairs of different images, without replacement. `pairs` above their number draws all.
    """
    i, j = torch.triu_indices(n, n, 1)
    if pairs < len(i):
        chosen = torch.randperm(len(i), generator=rng)[:pairs]
        i, j = i[chosen], j[chosen]
    counts = torch.zeros(n, n)
    counts[i, j] = 1.0
    return counts + counts.T


def pair_weights(counts: Tensor, estimator: Estimator) -> Tensor:
    """Return the weight W of each ordered pair, `... n n` with ΣW = 1; the error is Σ W (R−T)².

    With `eq4` every sampled image has the weight 1/|X_P|, shared among its |P_i| pairs; otherwise
    all sampled pairs have equal weights. `counts` may have repeated pairs; its diagonal (an image
    with itself) is ignored.
    """
    counts = counts - torch.diag_embed(counts.diagonal(dim1=-2, dim2=-1))
    if estimator == "eq4":
        degree = counts.sum(-1, keepdim=True)
        return counts / (degree.clamp_min(1) * (degree > 0).sum(-2, keepdim=True).clamp_min(1))
    return counts / counts.sum((-2, -1), keepdim=True).clamp_min(1)


def weighted_errors(
    reps: Sequence[Reps],
    teacher: Tensor,
    counts: Tensor,
    distances: Sequence[str],
    estimator: Estimator,
    fit: Fit = "none",
) -> Tensor:
    """Return Σ W (R−T)² over the drawn pairs for each of l layers.

    The gradient is that of Eq. 4 (`eq4`), or of the mean over pairs. `teacher` is `l n n`, all
    layers at once, because operations on few numbers take as long as on many. Pairs where it is
    NaN (not measured) are left out.

    Eq. 4 weighs the two ends of a pair differently, so it is the gradient of no scalar, except
    with a stop-gradient: each image moves while its partners are fixed. The value is therefore
    half of the surrogate with this gradient. For a symmetric W both are those of the plain sum.
    """
    reps = [flatten_units(r) for r in reps]
    missing = teacher.isnan()
    teacher = torch.where(missing, 0, teacher).to(reps[0].dtype)
    weights = pair_weights(counts.to(teacher.dtype) * ~missing, estimator)
    closed_form = {"mse", "sqeuclidean"}.issuperset(distances)
    fixed = [r.detach() for r in reps]
    student = torch.stack(
        [
            DISTANCES.find(name)(f if closed_form else r, f)
            for name, r, f in zip(distances, reps, fixed, strict=True)
        ]
    )
    slope = torch.ones((), dtype=student.dtype, device=student.device)
    if fit != "none":
        slope, offset = fit_scale(student.detach(), teacher, weights, fit)
        student = slope * student + offset
    if closed_form:
        factors = [
            1 / r.shape[1] if name == "mse" else 1.0
            for name, r in zip(distances, reps, strict=True)
        ]
        return _ClosedForm.apply(student, teacher, weights, slope, factors, *reps)
    surrogate = 2 * (weights * (student - teacher).square()).sum((-2, -1))
    return surrogate.detach() / 2 + (surrogate - surrogate.detach())


def flatten_units(reps: Reps) -> Reps:
    """Return representations as `n d`, with the units in their order in memory.

    No distance depends on the order. To flatten channels-last as NCHW would copy representations
    and gradient.
    """
    is_channels_last = reps.ndim == 4 and reps.is_contiguous(memory_format=torch.channels_last)
    return (reps.permute(0, 2, 3, 1) if is_channels_last else reps).flatten(1)


def fit_scale(student: Tensor, teacher: Tensor, weights: Tensor, fit: Fit) -> tuple[Tensor, Tensor]:
    """Return slopes and offsets that minimise Σ W (slope R + offset − T)².

    They are constants to the gradient, which is the same as if they were differentiated, because
    they are at their optimum. The student's side is fitted, so shrinking the student does not
    reduce the error. A slope is at least 0, and at 0 so is the gradient: a student of opposite
    geometry needs `rsa`.
    """

    def total(x: Tensor) -> Tensor:
        return x.sum((-2, -1), keepdim=True)

    weight_sum = total(weights).clamp_min(torch.finfo(weights.dtype).tiny)
    a, b = (
        total(weights * x) / weight_sum if fit == "affine" else torch.zeros_like(weight_sum)
        for x in (student, teacher)
    )
    spread = total(weights * (student - a).square())
    covariance = total(weights * (student - a) * (teacher - b))
    slope = (covariance / torch.where(spread > 0, spread, 1)).clamp_min(0)
    return slope, b - slope * a


class _ClosedForm(torch.autograd.Function):
    """Σ W (R−T)² for squared Euclidean R, scaled by s.

    The backward pass is 8s (diag(A·1) F − A F) with A = W∘(R−T), half the work of autograd.
    """

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        weights: Tensor,
        slope: Tensor,
        factors: list[float],
        *reps: Tensor,
    ) -> Tensor:
        residual = student - teacher
        weighted = weights * residual
        ctx.save_for_backward(weighted, slope, *reps)
        ctx.factors = factors
        return (weighted * residual).sum((-2, -1))

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        weighted, slope, *reps = ctx.saved_tensors
        with torch.autocast(weighted.device.type, enabled=False):
            weighted = (8 * outer[:, None, None] * slope) * (
                torch.diag_embed(weighted.sum(-1)) - weighted
            )
            # centred: the same gradient, less cancellation
            gradients = [
                s * w @ (r - r.mean(0)) for s, w, r in zip(ctx.factors, weighted, reps, strict=True)
            ]
        return None, None, None, None, None, *gradients
