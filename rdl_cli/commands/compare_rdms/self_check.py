"""Check measures on a user's own data: rotated, scaled and shifted copies give what theory says."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rdl_cli.commands.compare_rdms.compare_rdms import read_representations
from rdl_cli.commands.compare_rdms.representation import Representation
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.tensor_types import Condensed, Reps
from rdl_cli.rsa.distances import flatten_rows
from rdl_cli.rsa.measures import MEASURES, Measure, measure_traits
from rdl_cli.rsa.normalization import ranks

SCHEMA = "rdl-self-check/2"
TOLERANCE = 1e-6
REFLECTIONS = 8
ROTATION_INVARIANT = {"mse", "sqeuclidean", "euclidean", "cosine"}
OFFSET_INVARIANT = {"mse", "sqeuclidean", "euclidean"}
INVARIANT_TO_OFFSET_OF_DISTANCES = {"pearson", "spearman", "rho-a", "tau-a", "whitened-correlation"}


@dataclass(frozen=True)
class Check:
    """A representation compared with a transformed copy of itself.

    `expected` is None if theory names no value: the measure is sensitive to the change.
    """

    layer: str
    measure: str
    copy: str
    value: float
    expected: float | None

    @property
    def deviation(self) -> float | None:
        return None if self.expected is None else abs(self.value - self.expected)

    @property
    def passed(self) -> bool | None:
        return None if self.deviation is None else self.deviation < TOLERANCE


@dataclass(frozen=True)
class SelfCheck:
    """All checks, over the same stimuli."""

    n_stimuli: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the checks for JSON."""
        return {
            "schema": SCHEMA,
            "n_stimuli": self.n_stimuli,
            "tolerance": TOLERANCE,
            "passed": self.passed,
            "checks": [
                asdict(check) | {"deviation": check.deviation, "passed": check.passed}
                for check in self.checks
            ],
        }


def self_check(sources: Sequence[Path], settings: CompareRdmsSettings) -> SelfCheck:
    """Compare each layer with copies of itself, by each measure.

    Activations are copied, rotated, scaled and shifted; kernels and RDMs are not rotated. Of a
    layer with several RDMs (subjects) the first is checked.
    """
    measures = {spec: MEASURES.find(spec) for spec in dict.fromkeys(settings.measure)}
    layers = read_representations(sources, settings)
    checks = []
    for layer in layers:
        distance = layer.choose_distance(settings.distance)
        for spec, measure in measures.items():
            name = spec.partition(":")[0]
            original = layer.to_measure_input(measure, distance)[0]
            invariances = measure_invariances(name, measure, layer, distance) | {"identical"}
            for copy, transformed in transformed_copies(layer).items():
                value = float(measure(original, transformed.to_measure_input(measure, distance)[0]))
                expected = compare_with_copy(spec, measure, original)
                checks.append(
                    Check(layer.name, spec, copy, value, expected if copy in invariances else None)
                )
    return SelfCheck(layers[0].n_stimuli, tuple(checks))


def transformed_copies(layer: Representation) -> dict[str, Representation]:
    """Return the layer as it is, rotated at random, 7 times as large, and with an offset.

    The offset is one vector, added to every stimulus; that of an RDM is added to its distances.
    """
    if layer.rdms is not None:
        rdms = layer.rdms[:1]
        offset = rdms.nan_to_num(0).abs().mean()
        changed = {"identical": rdms.clone(), "scaled": 7 * rdms, "offset": rdms + offset}
        return {name: replace(layer, rdms=values, subjects=()) for name, values in changed.items()}
    generator = torch.Generator().manual_seed(0)
    if layer.kernel is not None:
        k, n = layer.kernel, layer.n_stimuli
        # the offset is a mixture of the patterns
        mixing = torch.eye(n, dtype=k.dtype)
        mixing = mixing + torch.randn(n, generator=generator, dtype=k.dtype) / n**0.5
        kernels = {"identical": k.clone(), "scaled": 49 * k, "offset": mixing @ k @ mixing.T}
        return {name: replace(layer, kernel=values) for name, values in kernels.items()}
    assert layer.reps is not None, "a representation has activations, RDMs or a kernel"
    reps = flatten_rows(layer.reps).double()
    offset = (
        torch.randn(reps.shape[1], generator=generator, dtype=reps.dtype)
        * reps.square().mean().sqrt()
    )
    copies = {
        "identical": reps.clone(),
        "rotated": rotate(reps, generator),
        "scaled": 7 * reps,
        "offset": reps + offset,
    }
    return {name: replace(layer, reps=values) for name, values in copies.items()}


def rotate(reps: Reps, generator: torch.Generator) -> Reps:
    """Return the representations after a random orthogonal map.

    The map is an even number of reflections: a matrix of 24,576² would be too large.
    """
    for _ in range(REFLECTIONS):
        mirror = torch.randn(reps.shape[1], generator=generator, dtype=reps.dtype)
        mirror = mirror / mirror.norm()
        reps = reps - 2 * (reps @ mirror)[:, None] * mirror
    return reps


def measure_invariances(
    name: str, measure: Measure, layer: Representation, distance: str
) -> set[str]:
    """Return the changes to which a measure is invariant; none for a user's own measure."""
    traits = measure_traits(measure)
    if name not in MEASURES.names():
        return set()
    if traits.input == "kernel":
        invariances = {"scaled"} | ({"rotated"} if traits.centering != "features" else set())
        centered = traits.centering == "stimuli" and layer.rdms is None
        return invariances | ({"offset"} if centered else set())
    if layer.rdms is not None:
        return {"scaled"} | ({"offset"} if name in INVARIANT_TO_OFFSET_OF_DISTANCES else set())
    return (
        {"scaled"}
        | ({"rotated"} if distance in ROTATION_INVARIANT else set())
        | ({"offset"} if distance in OFFSET_INVARIANT else set())
    )


def compare_with_copy(spec: str, measure: Measure, values: Condensed) -> float:
    """Return the value for identical representations: 1, or 0 for a distance.

    ρ_a and τ_a are smaller with ties: with groups of t tied distances among m, ρ_a is
    1 - Σ(t³-t)/(m³-m) and τ_a is 1 - Σt(t-1)/(m(m-1)).
    """
    power = {"rho-a": 3, "tau-a": 2}.get(spec.partition(":")[0])
    if power is None:
        return measure_traits(measure).identity_value
    measured = values[~values.isnan()]
    t, m = ranks(measured).unique(return_counts=True)[1].double(), float(len(measured))
    return 1 - float((t**power - t).sum()) / (m**power - m)
